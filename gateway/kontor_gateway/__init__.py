"""The gateway: Envoy's configuration, OpenAPI and documentation page, all rendered from the descriptor set."""
