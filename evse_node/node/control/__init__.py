"""The node's local control API: HTTP with JSON, and server-sent events for changes.

`messages` defines requests and answers, `operations` the table of paths and the OpenAPI document,
`server` serves them over HTTP, and `node_control` carries them out. Matter does not use it.
"""
