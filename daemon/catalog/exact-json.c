/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exact-json.h"

#include <string.h>

static void
refine_time (json_object *json, const char *name, int64_t time)
{
  g_autofree char *seconds = bk_time_format (time);
  if (time < 0 || !g_str_has_suffix (seconds, "Z"))
    return;
  seconds[strlen (seconds) - 1] = '\0';
  g_autofree char *text = g_strdup_printf ("%s.%06dZ", seconds, (int)(time % G_USEC_PER_SEC));
  json_object_object_add (json, name, json_object_new_string (text));
}

/* Gives the times in @json, which was made from @value, their microseconds; reading takes them as they are. */
static void
refine_times (const BkStruct *type, gconstpointer value, json_object *json)
{
  for (const BkField *field = type->fields; field->name; field++) {
    gconstpointer at = (const char *)value + field->offset;
    json_object *member = NULL;
    if (!json_object_object_get_ex (json, field->name, &member) || member == NULL)
      continue;
    if (field->type == BK_FIELD_TIME)
      refine_time (json, field->name, *(const int64_t *)at);
    else if (field->type == BK_FIELD_OBJECT)
      refine_times (field->sub, *(gconstpointer const *)at, member);
    for (size_t i = 0; field->type == BK_FIELD_ARRAY && i < json_object_array_length (member); i++)
      refine_times (field->sub, (*(GPtrArray *const *)at)->pdata[i], json_object_array_get_idx (member, i));
  }
}

gpointer
bk_exact_to_struct (const BkStruct *type, const char *text, GError **error)
{
  g_autoptr (json_object) json = NULL;
  if (!bk_exact_to_json (text, &json, error))
    return NULL;
  return bk_struct_from_json_lax (type, json, error);
}

char *
bk_exact_from_struct (const BkStruct *type, gconstpointer value, GError **error)
{
  g_autoptr (json_object) json = bk_struct_to_json (type, value);
  refine_times (type, value, json);
  g_autofree char *text = NULL;
  if (!bk_exact_from_json (json, &text, error))
    return NULL;
  gpointer again = bk_exact_to_struct (type, text, error);
  if (again == NULL)
    return NULL;
  bk_struct_free (type, again);
  return g_steal_pointer (&text);
}

gboolean
bk_exact_from_json (json_object *json, char **text, GError **error)
{
  *text = NULL;
  if (json == NULL)
    return TRUE;
  const int flags = JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE;
  g_autofree char *plain = g_strdup (json_object_to_json_string_ext (json, flags));
  g_autoptr (json_object) again = NULL;
  if (!bk_exact_to_json (plain, &again, error))
    return FALSE;
  *text = g_steal_pointer (&plain);
  return TRUE;
}

gboolean
bk_exact_to_json (const char *text, json_object **json, GError **error)
{
  g_autoptr (GError) inner = NULL;
  *json = text ? bk_json_parse (text, strlen (text), &inner) : NULL;
  if (inner == NULL)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&inner));
  return FALSE;
}
