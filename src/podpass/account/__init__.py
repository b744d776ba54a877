"""Stage 1: what a ServiceAccount and a Pod ask for, read from their labels and annotations.

In: the raw objects. Out: a `Wish`, or a refusal that names object, annotation and cure. Next: `admission`.
"""
