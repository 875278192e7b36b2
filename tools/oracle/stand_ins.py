"""Modules that this machine lacks, stood in for while others are imported: read, never run."""
import importlib.abc
import importlib.machinery


class Anything:
    """Takes part in any expression and in any class's bases; as a decorator it leaves what it decorates."""

    def __call__(self, *args, **kwargs):
        decorated = len(args) == 1 and not kwargs and callable(args[0]) and not isinstance(args[0], Anything)
        return args[0] if decorated else self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __iter__(self):
        return iter(())

    def __mro_entries__(self, bases):
        return ()


for _operation in ("getitem or ror add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod pow rpow lshift rshift "
                   "neg").split():
    setattr(Anything, f"__{_operation}__", lambda self, *_: self)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports `roots` and everything below them as modules that `module` makes of their names."""

    def __init__(self, roots, module):
        self.roots, self.module = tuple(roots), module

    def find_spec(self, name, path=None, target=None):
        there = any(name == root or name.startswith(root + ".") for root in self.roots)
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if there else None

    def create_module(self, spec):
        return self.module(spec.name)

    def exec_module(self, module):
        pass
