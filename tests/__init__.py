"""The tests of workpool; a package, so that tasks defined in a test can be found by name in a worker."""
