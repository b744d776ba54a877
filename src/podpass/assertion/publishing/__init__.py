"""An issuer that the operator of a cluster runs: key files, published documents, and rotation of the keys.

`model` has the data types, `plan` decides the next step, `key_folder` stores keys and state, `documents`
builds what is published, `targets` are the places where it is published, and `rotation` runs the steps.
"""
