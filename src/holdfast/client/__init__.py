"""How you operate: the SDK and the raw terminal attach."""
