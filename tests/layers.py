#!/usr/bin/env python3
"""The layer check: folders are layers, an include goes down only, a file is one noun. Run as `python3 tests/layers.py`.

A rule is a function from a tree ({path: text}) to a list of complaints. TheRepository holds the real tree against all of them;
TheRules shows each rule a small tree that breaks it, so that a rule that has gone blind is noticed.
"""

import os
import re
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

SERVER_L1 = ("server/store", "server/semantic", "server/upstream")  # never include each other
BELOW_ENGINE = ("proto", "server/base") + SERVER_L1

# What a layer may include beside itself.
LAYERS = {
    "proto": (),
    "client": ("proto",),
    "server/base": ("proto",),
    **{layer: ("proto", "server/base") for layer in SERVER_L1},
    "server/engine": BELOW_ENGINE,
    "server/net": BELOW_ENGINE + ("server/engine",),
    "server/main.c": BELOW_ENGINE + ("server/engine", "server/net"),
    "bench": ("proto", "client"),
}

TOP = {"proto", "client", "server", "bench", "tests", "CMakeLists.txt", "README.md", "LICENSE"}

# Headers that users install; they are written <promptcache.h> by whoever uses the library as its users do.
INSTALLED = {"promptcache.h": "client/promptcache.h", "promptcache-uv.h": "client/promptcache-uv.h"}
STANDARD = set("""assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic stdbool
    stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype""".split())

LINES_MAX = 600
FUNCTION_LINES_MAX = 70

# Nouns that neither a header's name nor a struct of its module gives, with the reason. Nothing enters here because it is convenient.
OTHER_NOUNS = {
    "proto/schema.h": ("proto",),  # the schema is the protocol: its tables bear the name of the layer
    "proto/message.h": ("request",),  # the one kind of message whose keys depend on the operation
    "proto/digest.h": ("request", "canonical"),  # what is digested, and the form it takes for that
}

C_FILE = re.compile(r"\.[ch]$")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


# ---- reading

def read_tree(root):
    """{path: text} of what git knows or would add; other files (build folders) are none of our business."""
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            capture_output=True, check=False)
    if listed.returncode == 0:
        paths = [p for p in listed.stdout.decode().split("\0") if p]
    else:  # an unpacked archive
        paths = []
        for folder, folders, names in os.walk(root):
            if "CMakeCache.txt" in names:
                folders.clear()
            else:
                paths += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    tree = {}
    for path in paths:
        try:
            with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
                tree[path] = file.read() if C_FILE.search(path) else ""
        except (FileNotFoundError, IsADirectoryError):
            continue  # deleted and not yet committed
    return tree


def c_files(tree, *folders):
    return {path: text for path, text in sorted(tree.items())
            if C_FILE.search(path) and (not folders or path.split("/")[0] in folders)}


def without_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)


def includes(text):
    """(quoted or installed?, name) of each include."""
    return [(mark == '"', name) for mark, name in INCLUDE.findall(without_comments(text))]


def project_includes(text):
    """Paths from the root of what a file includes of this project."""
    return [name if quoted else INSTALLED[name] for quoted, name in includes(text) if quoted or name in INSTALLED]


def layer_of(path):
    return next((layer for layer in LAYERS if path == layer or path.startswith(layer + "/")), None)


def layers_below_test(path):
    """The layers a test may include: a unit test those of its own layer and below, others all."""
    folder = path.split("/")
    if folder[1] != "unit" or len(folder) < 4:
        return set(LAYERS)
    layer = next(name for name in (folder[2], "server/" + folder[2]) if name in LAYERS)
    return {layer, *LAYERS[layer]}


# ---- rules

def rule_includes_exist_and_are_written_from_the_root(tree):
    return [f'{path}: "{name}" is not a path from the root'
            for path, text in c_files(tree).items() for quoted, name in includes(text) if quoted and name not in tree]


def rule_includes_go_down(tree):
    found = []
    for path, text in c_files(tree).items():
        layer = layer_of(path)
        test = path.startswith("tests/")
        if layer is None and not test:
            found.append(f"{path}: belongs to no layer")
            continue
        allowed = layers_below_test(path) if test else {layer, *LAYERS[layer]}
        for name in project_includes(text):
            if name not in tree or (test and name.startswith("tests/")):
                continue
            if layer_of(name) not in allowed:
                found.append(f"{path}: may not include {name}")
            elif name.endswith(".c") and not test:
                found.append(f"{path}: includes the source {name}")
    return found


def rule_no_header_includes_itself(tree):
    headers = {path: project_includes(text) for path, text in c_files(tree).items() if path.endswith(".h")}
    found, done = [], set()

    def visit(path, way):
        if path in way:
            found.append("cycle: " + " -> ".join(way[way.index(path):] + [path]))
        elif path not in done:
            for name in headers.get(path, ()):
                visit(name, way + [path])
            done.add(path)

    for path in headers:
        visit(path, [])
    return found


def rule_installed_headers_need_nothing_but_the_standard_library(tree):
    found = []
    for path in INSTALLED.values():
        others = {"promptcache.h", "uv.h"} if path == INSTALLED["promptcache-uv.h"] else set()
        for quoted, name in includes(tree.get(path, "")):
            if quoted or (name.removesuffix(".h") not in STANDARD and name not in others):
                found.append(f"{path}: includes {name}")
    return found


def file_scope(text):
    """The text without comments, preprocessor lines and everything in braces, split into declarations."""
    text = re.sub(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", "", without_comments(text), flags=re.M)
    text = re.sub(r'extern "C" \{', "", text)
    while re.search(r"\{[^{}]*\}", text):
        text = re.sub(r"\{[^{}]*\}", " ;", text)
    return [" ".join(part.split()) for part in text.split(";")]


def exported_functions(text):
    names = []
    for part in file_scope(text):
        part = re.sub(r"__attribute__ ?\(\((?:[^()]|\([^()]*\))*\)\)", "", part)
        name = re.match(r"(?:[\w*]+[ *]+)+(\w+) ?\(", part.strip())
        if name and not part.strip().startswith("typedef") and not name.group(1).isupper():
            names.append(name.group(1))
    return names


def module_of(path):
    return re.sub(r"(_internal)?\.[ch]$", "", path).replace("-", "_")


def nouns_of(tree, path):
    """What the functions of a header may begin with: its file's noun, and the structs that it or its sources define. An internal
    header is shared by the files of its folder, and their nouns are good in it too."""
    module = module_of(path)
    stem = os.path.basename(module)
    nouns = {stem, stem + "s", *OTHER_NOUNS.get(module + ".h", ())}
    if re.search("[^s]s$", stem):
        nouns.add(stem[:-1])
    if path.startswith("client/"):
        nouns.add("pc")  # the library's objects are linked into programs of others
    folder = os.path.dirname(path) + "/"
    for other, text in c_files(tree).items():
        beside = path.endswith("_internal.h") and other.startswith(folder)
        if beside or module_of(other) == module or module_of(other).startswith(module + "_"):
            nouns.update(re.findall(r"^struct (\w+)\s*\{", text, flags=re.M))
        if beside:
            nouns.add(os.path.basename(module_of(other)))
    return nouns


def rule_exported_functions_begin_with_a_noun_of_their_file(tree):
    found = []
    for path, text in c_files(tree, "proto", "client", "server", "bench").items():
        if path.endswith(".h"):
            nouns = nouns_of(tree, path)
            found += [f"{path}: {name} does not begin with a noun of its module" for name in exported_functions(text)
                      if not any(name.startswith(noun + "_") for noun in nouns)]
    return found


def rule_the_top_level_holds_only_the_layers(tree):
    return [f"{name}: does not belong at the top" for name in sorted({path.split("/")[0] for path in tree})
            if name not in TOP and not name.startswith(".")]


def rule_files_are_short(tree):
    return [f"{path}: {text.count(chr(10))} lines, at most {LINES_MAX}" for path, text in c_files(tree).items()
            if text.count("\n") > LINES_MAX]


def functions(text):
    """(first line, lines) of each function: our style puts both its name and its last brace at the left margin."""
    start, inside = 0, False
    for number, line in enumerate(text.split("\n"), 1):
        if re.match(r"[a-zA-Z_].*\)[ \t]*\{?[ \t]*$", line):
            start = number
        if line.startswith("{") or re.match(r"[a-zA-Z_].*\)[ \t]*\{[ \t]*$", line):
            inside, start = True, start or number
        if line.startswith("}"):
            if inside:
                yield start, number - start
            start, inside = 0, False


def rule_functions_are_short(tree):
    return [f"{path}:{start}: {lines} lines, at most {FUNCTION_LINES_MAX}" for path, text in c_files(tree).items()
            for start, lines in functions(text) if lines > FUNCTION_LINES_MAX]


def rule_headers_have_a_guard_of_their_own(tree):
    found, owners = [], {}
    for path, text in c_files(tree).items():
        if not path.endswith(".h"):
            continue
        guard = re.match(r"\s*#ifndef (\w+)\n#define \1\n.*#endif\s*$", without_comments(text), flags=re.S)
        name = re.sub(r"\W", "_", os.path.basename(path)).upper()
        if guard is None or not guard.group(1).endswith(name):
            found.append(f"{path}: has no include guard that ends in {name}")
        elif owners.setdefault(guard.group(1), path) != path:
            found.append(f"{path}: has the include guard of {owners[guard.group(1)]}")
    return found


RULES = [value for name, value in sorted(globals().items()) if name.startswith("rule_")]


# ---- cases

class TheRepository(unittest.TestCase):
    tree = read_tree(ROOT)

    def test_there_is_something_to_check(self):
        for layer in ("proto", "client", "server", "bench", "tests"):
            self.assertTrue(c_files(self.tree, layer), layer)

    def test_all_rules(self):
        for rule in RULES:
            with self.subTest(rule.__name__):
                found = rule(self.tree)
                if found:
                    self.fail("\n" + "\n".join(found))


def header(path, body=""):
    guard = re.sub(r"\W", "_", "/".join(path.split("/")[-2:])).upper()
    return {path: f"/* x */\n#ifndef {guard}\n#define {guard}\n{body}\n#endif\n"}


class TheRules(unittest.TestCase):
    sound = {
        **header("proto/bytes.h", "struct slice {\n\tint n;\n};\n"
                 "static inline int slice_n(struct slice s) { return s.n; }\nvoid bytes_free(struct buf *b);"),
        **header("server/base/loop.h", '#include "proto/bytes.h"\nstruct loop *loop_new(void);\ntypedef void (*cb)(int x);'),
        **header("server/store/store.h", '#include "server/base/loop.h"\n#define GET(x) other(x)\nint store_get(struct x (*f)(int));'),
        **header("server/engine/flight.h", '#include "server/store/store.h"'),
        **header("client/promptcache.h", '#include <stdint.h>\nextern "C" {\nPC_API int pc_open(void);\n}'),
        "server/main.c": '#include "server/engine/flight.h"\n',
        "tests/unit/store/test_store.c": '#include "server/store/store.c"\n',
        "server/store/store.c": '#include "server/store/store.h"\nint store_get(void)\n{\n}\n',
        "README.md": "", "LICENSE": "", ".gitignore": "",
    }

    def broken(self, rule, files):
        found = rule({**self.sound, **files})
        self.assertEqual(len(found), 1, found)
        return found[0]

    def test_a_sound_tree_passes(self):
        for rule in RULES:
            self.assertEqual(rule(self.sound), [], rule.__name__)

    def test_an_include_that_is_not_from_the_root_is_found(self):
        self.broken(rule_includes_exist_and_are_written_from_the_root, {"server/store/a.c": '#include "store.h"\n'})

    def test_an_include_in_a_comment_is_none(self):
        tree = {**self.sound, "proto/a.c": '/*\n#include "nowhere.h"\n*/\n'}
        self.assertEqual(rule_includes_exist_and_are_written_from_the_root(tree), [])

    def test_an_include_that_goes_up_or_sideways_is_found(self):
        for path, name in (("proto/a.c", "server/base/loop.h"), ("server/base/a.c", "server/store/store.h"),
                           ("server/upstream/a.c", "server/store/store.h"), ("server/store/a.c", "server/engine/flight.h"),
                           ("client/a.c", "server/base/loop.h"), ("server/net/a.c", "client/promptcache.h"),
                           ("bench/a.c", "server/base/loop.h"), ("tests/unit/base/test_a.c", "server/store/store.h"),
                           ("tests/unit/client/test_a.c", "server/base/loop.h"), ("server/net/a.c", "server/store/store.c")):
            self.broken(rule_includes_go_down, {path: f'#  include "{name}"\n'})
        self.broken(rule_includes_go_down, {"server/net/a.c": "#include <promptcache.h>\n"})
        self.broken(rule_includes_go_down, {"server/other/a.c": ""})

    def test_a_cycle_of_headers_is_found(self):
        files = {**header("proto/a.h", '#include "proto/b.h"'), **header("proto/b.h", '#include "proto/c.h"'),
                 **header("proto/c.h", '#include "proto/a.h"')}
        self.assertIn("proto/a.h -> proto/b.h -> proto/c.h -> proto/a.h",
                      self.broken(rule_no_header_includes_itself, files))

    def test_a_public_header_that_needs_more_is_found(self):
        for name in ("<msgpack.h>", "<uv.h>", '"proto/bytes.h"', "<sys/queue.h>"):
            self.broken(rule_installed_headers_need_nothing_but_the_standard_library,
                        header("client/promptcache.h", f"#include {name}"))
        self.broken(rule_installed_headers_need_nothing_but_the_standard_library,
                    header("client/promptcache-uv.h", "#include <promptcache.h>\n#include <uv.h>\n#include <curl/curl.h>"))

    def test_a_function_with_a_foreign_name_is_found(self):
        for body in ("int get(void);", "__attribute__((format(printf, 1, 2))) int get(const char *f, ...);",
                     "struct x *get(int (*each)(void), int n);", "static inline int get(void)\n{\n\tif (1) { return 2; }\n\treturn 1;\n}"):
            self.assertIn(": get does", self.broken(rule_exported_functions_begin_with_a_noun_of_their_file,
                                                    header("server/net/conn.h", body)))

    def test_the_structs_of_a_module_are_its_nouns_and_those_of_others_are_not(self):
        files = {**header("server/net/door.h", "struct stream;\nvoid stream_close(struct stream *s);"),
                 "server/net/door_open.c": "struct stream {\n\tint fd;\n};\n"}
        self.assertEqual(rule_exported_functions_begin_with_a_noun_of_their_file({**self.sound, **files}), [])
        files["server/net/other.c"] = files.pop("server/net/door_open.c")
        self.broken(rule_exported_functions_begin_with_a_noun_of_their_file, files)

    def test_a_stray_file_at_the_top_is_found(self):
        self.broken(rule_the_top_level_holds_only_the_layers, {"notes.md": ""})
        self.broken(rule_the_top_level_holds_only_the_layers, {"docs/notes.md": ""})

    def test_long_files_and_functions_are_found(self):
        long = "int a_b(void)\n{\n" + "\tx;\n" * FUNCTION_LINES_MAX + "}\n"
        self.assertIn("proto/a.c:1:", self.broken(rule_functions_are_short, {"proto/a.c": long}))
        self.assertEqual(rule_functions_are_short({"proto/a.c": long.replace("\tx;\n", "", 2)}), [])
        self.broken(rule_files_are_short, {"proto/a.c": "\n" * (LINES_MAX + 1)})
        self.assertEqual(rule_files_are_short({"proto/a.c": "\n" * LINES_MAX}), [])

    def test_a_missing_or_doubled_guard_is_found(self):
        self.broken(rule_headers_have_a_guard_of_their_own, {"proto/a.h": "int a_b(void);\n"})
        self.broken(rule_headers_have_a_guard_of_their_own, {"proto/a.h": "#ifndef B_H\n#define B_H\n#endif\n"})
        self.broken(rule_headers_have_a_guard_of_their_own, {"proto/a.h": "#ifndef PROTO_A_H\n#define PROTO_A_H\n#endif\nint x;\n"})
        self.broken(rule_headers_have_a_guard_of_their_own,
                    {"proto/a.h": "#ifndef A_H\n#define A_H\n#endif\n", "client/a.h": "#ifndef A_H\n#define A_H\n#endif\n"})


if __name__ == "__main__":
    unittest.main()
