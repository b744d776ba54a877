"""Programs that podpass is measured and tried beside, built once with Go into a cache outside the tree."""
