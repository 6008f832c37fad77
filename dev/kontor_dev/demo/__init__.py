"""Demo data: `markets` says where it plays, `story` makes it up, `load` brings it in."""
