"""Runs a file of a package's own tests, from its source distribution, with the installed package."""

import glob
import importlib.metadata
import importlib.util
import os
import sys
import unittest

package, path = sys.argv[1:3]
root = os.path.join(os.environ["DXG_CLIENT_SOURCES"], f"{package}-{importlib.metadata.version(package)}")
assert glob.glob(root), f"no {root}"
spec = importlib.util.spec_from_file_location("own_tests", os.path.join(root, path))
tests = importlib.util.module_from_spec(spec)
sys.modules["own_tests"] = tests
spec.loader.exec_module(tests)
result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(unittest.defaultTestLoader.loadTestsFromModule(tests))
sys.exit(not result.wasSuccessful())
