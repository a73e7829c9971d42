/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout.h"

#include "bk-types.h"

#include <string.h>

char *
bk_layout_unescape (const char *text)
{
  g_autoptr (GString) name = g_string_new (NULL);
  for (const char *c = text; *c != '\0'; c++) {
    if (*c != '%') {
      g_string_append_c (name, *c);
    } else if (g_ascii_isxdigit (c[1]) && g_ascii_isxdigit (c[2])) {
      g_string_append_c (name, (char)(g_ascii_xdigit_value (c[1]) * 16 + g_ascii_xdigit_value (c[2])));
      c += 2;
    }
  }
  /* There is one spelling of a name: a second one would be a second folder for it. */
  g_autofree char *again = bk_path_component_escape (name->str);
  return g_str_equal (again, text) ? g_strdup (name->str) : NULL;
}

char *
bk_layout_image (const char *disk)
{
  g_autofree char *name = bk_path_component_escape (disk);
  return g_strconcat (name, ".qcow2", NULL);
}
