"""Types that must come out, and calls that must be refused."""
