"""The site's configuration for Sphinx; tools/build_site.py writes the pages that it reads."""

import minidl

project = "minidl"
copyright = "minidl contributors"
release = version = minidl.__version__

extensions = ["myst_parser", "sphinx.ext.viewcode", "sphinx_copybutton"]
myst_heading_anchors = 6  # the anchors of GitHub
myst_enable_extensions = ["deflist"]
smartquotes = False  # options keep their two hyphens

html_theme = "furo"
html_title = f"minidl {version}"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
html_static_path = ["_static"]
html_css_files = ["site.css"]
pygments_style = "friendly"
pygments_dark_style = "monokai"
highlight_language = "text"  # of blocks that do not say theirs

add_module_names = False  # the title of a page of the reference says the module
toc_object_entries_show_parents = "hide"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
