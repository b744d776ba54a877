"""The console: pages in a browser that show the loop, each token exchange with its hops, and refusals.

The pages only show; nothing in the console changes an instance. `sessions` decides who may read, `timeline`
stores the last hops, `pages` renders, `app` is the HTTP edge.
"""
