"""Many members of one run: vectorised, over devices, over machines; kept batch by batch."""
