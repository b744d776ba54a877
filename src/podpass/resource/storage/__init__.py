"""Storage accounts in front of Azurite: tokens and roles are checked here, and Azurite stores the data.

`app` checks each request and passes it on; `operations` has the actions that each operation needs.
"""
