"""KServe's Open Inference Protocol v2 as pure functions: bytes in, bytes out, and no socket.

https://github.com/kserve/open-inference-protocol (`inference_rest.md`), with three extensions of
Triton's: binary tensor data, parameters and classification
(https://github.com/triton-inference-server/server/tree/main/docs/protocol). A server calls, for one
request of an open artifact,

    interface = interface_of(predictor)            # once for each artifact
    request = parse(body, header_length, limits)
    *_, answered = infer(request, interface)       # a step for each row; the last gives the result
    body, header_length = encode(response_of(request, answered, name, version))

and answers `InvalidRequest` with its status and sentence.

Shapes: N rows of a request, T tokens, W words of a sentence (the longest), V labels, D width.
"""
