"""A world of human heads: open anatomy (CC0), own skin, hair, clothes and light; every picture follows from one ``Person``.

Read in this order: ``person`` (what a head can be), ``anatomy`` (numbers to a mesh), ``head`` (the parts put together),
``renderer`` (mesh to pictures), ``world`` (all of it behind the contract of ``portrait3d_core.data.world``).
"""
