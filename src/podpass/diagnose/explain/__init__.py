"""Explains errors of the whole path of a token: in any text, and in the hops of a log. Pure.

`text` cleans a text, `recognition` finds known sentences in it, `sentences` is the table of them, `hop`
explains a refused hop. AADSTS codes come from `exchange.errors`.
"""
