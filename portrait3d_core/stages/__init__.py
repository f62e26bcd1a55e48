"""The pipeline: invert, distill, refine, orbit, mesh. One file per stage."""
