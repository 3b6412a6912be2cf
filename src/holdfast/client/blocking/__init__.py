"""The SDK for programs that block: the names of the asynchronous one, with the same promises. Import it as ``holdfast.sync``.

``portal`` is the bridge; the other modules are generated from the asynchronous SDK by `tools/mirror`. Not here: anything new.
"""
