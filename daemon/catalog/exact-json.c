/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exact-json.h"

#include <string.h>

/* Called for each time of a struct, with the object that it is a member of. */
typedef void (*TimeFunc) (json_object *json, const char *name, int64_t *time);

static void
each_time (const BkStruct *type, gpointer value, json_object *json, TimeFunc func)
{
  for (const BkField *field = type->fields; field->name; field++) {
    gpointer at = (char *)value + field->offset;
    json_object *member = NULL;
    if (!json_object_object_get_ex (json, field->name, &member) || member == NULL)
      continue;
    if (field->type == BK_FIELD_TIME)
      func (json, field->name, at);
    else if (field->type == BK_FIELD_OBJECT)
      each_time (field->sub, *(gpointer *)at, member, func);
    for (size_t i = 0; field->type == BK_FIELD_ARRAY && i < json_object_array_length (member); i++)
      each_time (field->sub, (*(GPtrArray **)at)->pdata[i], json_object_array_get_idx (member, i), func);
  }
}

static void
write_time (json_object *json, const char *name, int64_t *time)
{
  g_autofree char *seconds = bk_time_format (*time);
  if (*time < 0 || !g_str_has_suffix (seconds, "Z"))
    return;
  seconds[strlen (seconds) - 1] = '\0';
  g_autofree char *text = g_strdup_printf ("%s.%06dZ", seconds, (int)(*time % G_USEC_PER_SEC));
  json_object_object_add (json, name, json_object_new_string (text));
}

/* GDateTime takes seconds as a floating point number, which loses a microsecond now and then. */
static void
read_time (json_object *json, const char *name, int64_t *time)
{
  json_object *member = NULL;
  json_object_object_get_ex (json, name, &member);
  g_auto (GStrv) parts = g_strsplit (json_object_get_string (member), ".", 2);
  if (parts[0] == NULL || parts[1] == NULL || strspn (parts[1], "0123456789") != 6)
    return;
  g_autofree char *seconds = g_strconcat (parts[0], "Z", NULL);
  *time = bk_time_parse (seconds) + g_ascii_strtoll (parts[1], NULL, 10);
}

gpointer
bk_exact_to_struct (const BkStruct *type, const char *text, GError **error)
{
  g_autoptr (json_object) json = NULL;
  if (!bk_exact_to_json (text, &json, error))
    return NULL;
  gpointer value = bk_struct_from_json_lax (type, json, error);
  if (value != NULL)
    each_time (type, value, json, read_time);
  return value;
}

char *
bk_exact_from_struct (const BkStruct *type, gconstpointer value, GError **error)
{
  g_autoptr (json_object) json = bk_struct_to_json (type, value);
  each_time (type, (gpointer)value, json, write_time);
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
