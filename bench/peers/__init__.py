"""Go programs that podpass is compared with and tested against, built once into a cache outside the tree."""
