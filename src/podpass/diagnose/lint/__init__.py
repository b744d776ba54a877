"""Find federated credentials that Entra refuses, or that trust more than intended.

`model` has the facts, `policies` Microsoft's two policies for issuers, `rules` the table of rules, `section`
the policies of a seed file, `reader` reads the facts of a subscription.
"""
