"""The node's local control API: HTTP with JSON, and server-sent events for changes.

`api` describes the operations and makes the OpenAPI document from them, `server` serves
them, `client` calls them. Matter controllers do not use any of this.
"""
