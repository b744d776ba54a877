"""Microsoft's AKS tutorial, run by the released `az` and kubectl against an instance of its own."""
