"""Records of past use, as gateways, providers and agents keep them, to the fields of a request.

One file is one format: a frozen `Format` record found by its type. Another package adds formats by an entry point in
the group `inferprint.usage`.
"""
