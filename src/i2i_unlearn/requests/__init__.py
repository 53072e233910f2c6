"""From a filed request to its verdict: what is out of date is run, and a request is looked at before it is filed."""
