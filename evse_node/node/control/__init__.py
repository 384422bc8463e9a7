"""The node's local control API: HTTP with JSON, and server-sent events for changes.

`messages` defines requests and answers, `operations` the table of paths and the OpenAPI document,
`node_control` carries them out; `server` listens, and loads `http`. Matter does not use it.
"""
