"""x"""
def openapi_json(contract, *, issuer): return b"{}"
