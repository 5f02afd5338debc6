"""This module records which kernels run."""

import minidl as md


def kernels_run(monkeypatch, *names):
    """Return a list that gets the name of each of these kernels whenever it runs."""
    calls: list[str] = []

    def noting(name, kernel):
        def noted(*args, **options):
            calls.append(name)
            return kernel(*args, **options)

        return noted

    for name in names:
        monkeypatch.setattr(md.kernels, name, noting(name, getattr(md.kernels, name)))
    return calls
