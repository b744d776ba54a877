"""For people: the command line and the local loop. The only code that reads the environment."""
