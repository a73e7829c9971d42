/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "catalog-private.h"

#define NAMED_MATCHES 5 /* BK_LOOKUP_LIMIT - 1 */

void
bk_lookup_bind_prefix (BkStatement *statement, const char *prefix)
{
  /* U+10FFFF sorts after all that can follow the prefix. */
  g_autofree char *end = g_strconcat (prefix, "\xf4\x8f\xbf\xbf", NULL);
  bk_statement_bind_text (statement, prefix);
  bk_statement_bind_text (statement, end);
}

GPtrArray *
bk_lookup_ids (BkStatement *statement, GError **error)
{
  g_autoptr (GPtrArray) ids = g_ptr_array_new_with_free_func (g_free);
  BkStepResult result;
  while ((result = bk_statement_step (statement, error)) == BK_STEP_ROW)
    g_ptr_array_add (ids, g_strdup (bk_statement_text (statement, 0)));
  return result == BK_STEP_END ? g_steal_pointer (&ids) : NULL;
}

static void
refuse_ambiguous (GPtrArray *ids, const char *noun, const char *prefix, GError **error)
{
  g_autoptr (GString) list = g_string_new (NULL);
  for (unsigned i = 0; i < ids->len && i < NAMED_MATCHES; i++)
    g_string_append_printf (list, "%s%s", i ? ", " : "", (const char *)ids->pdata[i]);
  if (ids->len > NAMED_MATCHES)
    g_string_append (list, " and more");
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' may be more than one %s: %s; give more of the ID", prefix, noun,
               list->str);
}

const char *
bk_lookup_choose (GPtrArray *ids, const char *noun, const char *prefix, GError **error)
{
  if (prefix[0] == '\0') {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "the ID of a %s must not be empty", noun);
    return NULL;
  }
  for (unsigned i = 0; i < ids->len; i++)
    if (g_str_equal (ids->pdata[i], prefix))
      return ids->pdata[i];
  if (ids->len == 1)
    return ids->pdata[0];
  if (ids->len == 0)
    g_set_error (error, BK_ERROR, BK_ERROR_NOT_FOUND, "there is no %s whose ID is or starts with '%s'", noun, prefix);
  else
    refuse_ambiguous (ids, noun, prefix, error);
  return NULL;
}
