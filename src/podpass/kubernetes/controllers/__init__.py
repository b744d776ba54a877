"""What a controller manager does: it looks at what is wanted and what is there, and acts on the difference.

Each controller is a `look` at one object by its name. It is called after every change that may concern the
object, and reads the state, never the change: a look that was missed is made up for by the next one. What a
look decides is in pure modules; it acts through `writer`, as a client of the API would.
"""
