"""Find what a tenant of Entra refuses, or accepts from others than intended, in federated credentials.

`model` has the facts, `policies` Microsoft's two policies for issuers, `rules` the table of rules, `section`
the policies of a seed file, `reader` the facts of a subscription.
"""
