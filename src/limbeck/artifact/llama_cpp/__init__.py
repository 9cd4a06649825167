"""llama.cpp as a process of its own: node-llama-cpp with its prebuilt library, and no network.

What it says of a GGUF file is what people get who run the file. The process is `worker.mjs`: a JSON
object a line in, one a line out.
"""
