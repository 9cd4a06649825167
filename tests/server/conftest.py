"""What the extra `serve` brings is not everywhere: without it these tests are left out."""

import importlib.util

WITH_SERVE = importlib.util.find_spec("orjson") is not None
collect_ignore_glob = [] if WITH_SERVE else ["test_open_inference*.py", "test_site.py"]
