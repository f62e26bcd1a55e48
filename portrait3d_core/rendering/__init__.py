"""Volume rendering of a tri-grid: rays, depth samples, field look-ups, compositing."""
