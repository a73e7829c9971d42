/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bk-json.h"

#include <string.h>

#define MAX_DEPTH 64

typedef struct {
  bool lax;        /* pass over unknown members */
  GString *where;  /* JSON pointer to the value at hand */
  GError **error;
} Reader;

static gpointer read_struct (Reader *reader, const BkStruct *type, json_object *json);

char *
bk_time_format (int64_t time_us)
{
  g_autoptr (GDateTime) time = g_date_time_new_from_unix_utc (time_us / G_USEC_PER_SEC);
  return time ? g_date_time_format (time, "%Y-%m-%dT%H:%M:%SZ") : g_strdup ("");
}

int64_t
bk_time_parse (const char *text)
{
  g_autoptr (GTimeZone) utc = g_time_zone_new_utc ();
  g_autoptr (GDateTime) time = g_date_time_new_from_iso8601 (text, utc);
  if (time == NULL)
    return 0;
  int64_t seconds = g_date_time_to_unix (time);
  return seconds >= 0 ? seconds * G_USEC_PER_SEC + g_date_time_get_microsecond (time) : 0;
}

static json_object *
string_to_json (const char *text)
{
  return text ? json_object_new_string (text) : NULL;
}

static json_object *
strv_to_json (GStrv strv)
{
  json_object *array = json_object_new_array ();
  for (size_t i = 0; strv && strv[i]; i++)
    json_object_array_add (array, json_object_new_string (strv[i]));
  return array;
}

static json_object *
map_to_json (GHashTable *map)
{
  json_object *object = json_object_new_object ();
  if (map == NULL)
    return object;
  g_autoptr (GList) keys = g_list_sort (g_hash_table_get_keys (map), (GCompareFunc)strcmp);
  for (GList *l = keys; l; l = l->next)
    json_object_object_add (object, l->data, string_to_json (g_hash_table_lookup (map, l->data)));
  return object;
}

static json_object *
array_to_json (const BkStruct *type, GPtrArray *items)
{
  json_object *array = json_object_new_array ();
  for (unsigned i = 0; items && i < items->len; i++)
    json_object_array_add (array, bk_struct_to_json (type, items->pdata[i]));
  return array;
}

static json_object *
field_to_json (const BkField *field, gconstpointer at)
{
  switch (field->type) {
  case BK_FIELD_STRING:
    return string_to_json (*(char *const *)at);
  case BK_FIELD_BOOL:
    return json_object_new_boolean (*(const bool *)at);
  case BK_FIELD_UINT64:
    return json_object_new_int64 ((int64_t)MIN (*(const uint64_t *)at, (uint64_t)INT64_MAX));
  case BK_FIELD_INT64:
    if ((field->flags & BK_FIELD_NULL_IF_NEGATIVE) && *(const int64_t *)at < 0)
      return NULL;
    return json_object_new_int64 (*(const int64_t *)at);
  case BK_FIELD_TIME: {
    if (*(const int64_t *)at == 0)
      return NULL;
    g_autofree char *text = bk_time_format (*(const int64_t *)at);
    return json_object_new_string (text);
  }
  case BK_FIELD_STRV:
    return strv_to_json (*(GStrv const *)at);
  case BK_FIELD_MAP:
    return map_to_json (*(GHashTable *const *)at);
  case BK_FIELD_OBJECT:
    return *(gconstpointer const *)at ? bk_struct_to_json (field->sub, *(gconstpointer const *)at) : NULL;
  case BK_FIELD_ARRAY:
    return array_to_json (field->sub, *(GPtrArray *const *)at);
  }
  g_assert_not_reached ();
}

static bool
json_is_empty (json_object *json)
{
  switch (json_object_get_type (json)) {
  case json_type_null:
    return true;
  case json_type_boolean:
    return !json_object_get_boolean (json);
  case json_type_int:
    return json_object_get_int64 (json) == 0;
  case json_type_array:
    return json_object_array_length (json) == 0;
  case json_type_object:
    return json_object_object_length (json) == 0;
  case json_type_string:
    return json_object_get_string_len (json) == 0;
  case json_type_double:
    return false;
  }
  return false;
}

json_object *
bk_struct_to_json (const BkStruct *type, gconstpointer value)
{
  json_object *object = json_object_new_object ();
  for (const BkField *field = type->fields; field->name; field++) {
    json_object *member = field_to_json (field, (const char *)value + field->offset);
    if ((field->flags & BK_FIELD_OMIT_IF_EMPTY) && json_is_empty (member))
      json_object_put (member);
    else
      json_object_object_add (object, field->name, member);
  }
  return object;
}

G_GNUC_PRINTF (2, 3) static bool
refuse (Reader *reader, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  g_autofree char *what = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (reader->error, BK_ERROR, BK_ERROR_INVALID, "%s: %s", reader->where->len ? reader->where->str : "/", what);
  return false;
}

static bool
want (Reader *reader, json_object *json, json_type type, const char *what)
{
  return json_object_is_type (json, type) || refuse (reader, "must be %s", what);
}

static bool
read_word (Reader *reader, const BkField *field, json_object *json, char **out)
{
  if (!want (reader, json, json_type_string, "a string"))
    return false;
  const char *text = json_object_get_string (json);
  if (strlen (text) != (size_t)json_object_get_string_len (json))
    return refuse (reader, "must not hold a NUL character");
  if (field->values && !g_strv_contains (field->values, text)) {
    g_autofree char *words = g_strjoinv (", ", (char **)field->values);
    return refuse (reader, "must be one of %s", words);
  }
  *out = g_strdup (text);
  return true;
}

static bool
read_uint64 (Reader *reader, json_object *json, uint64_t *out)
{
  if (!want (reader, json, json_type_int, "a whole number"))
    return false;
  if (json_object_get_int64 (json) < 0)
    return refuse (reader, "must not be negative");
  *out = json_object_get_uint64 (json);
  return true;
}

static bool
read_time (Reader *reader, json_object *json, int64_t *out)
{
  if (!want (reader, json, json_type_string, "an RFC 3339 time"))
    return false;
  *out = bk_time_parse (json_object_get_string (json));
  return *out != 0 || refuse (reader, "must be an RFC 3339 time such as 2026-11-23T02:52:00Z");
}

/* Adds "/NAME" or "/INDEX" to the pointer; leave() takes it away again. */
static size_t
enter_member (Reader *reader, const char *name)
{
  size_t before = reader->where->len;
  g_string_append_printf (reader->where, "/%s", name);
  return before;
}

static size_t
enter_item (Reader *reader, size_t index)
{
  size_t before = reader->where->len;
  g_string_append_printf (reader->where, "/%zu", index);
  return before;
}

static void
leave (Reader *reader, size_t before)
{
  g_string_truncate (reader->where, before);
}

static bool
read_strv (Reader *reader, const BkField *field, json_object *json, GStrv *out)
{
  if (!want (reader, json, json_type_array, "an array of strings"))
    return false;
  g_autoptr (GPtrArray) words = g_ptr_array_new_with_free_func (g_free);
  for (size_t i = 0; i < json_object_array_length (json); i++) {
    size_t before = enter_item (reader, i);
    char *word = NULL;
    if (!read_word (reader, field, json_object_array_get_idx (json, i), &word))
      return false;
    g_ptr_array_add (words, word);
    leave (reader, before);
  }
  g_ptr_array_add (words, NULL);
  *out = (GStrv)g_ptr_array_free (g_steal_pointer (&words), FALSE);
  return true;
}

static bool
read_map (Reader *reader, const BkField *field, json_object *json, GHashTable **out)
{
  if (!want (reader, json, json_type_object, "an object of strings"))
    return false;
  *out = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  json_object_object_foreach (json, key, member) {
    size_t before = enter_member (reader, key);
    char *word = NULL;
    if (!read_word (reader, field, member, &word))
      return false;
    g_hash_table_insert (*out, g_strdup (key), word);
    leave (reader, before);
  }
  return true;
}

static void
free_array (const BkStruct *type, GPtrArray *items)
{
  for (unsigned i = 0; items && i < items->len; i++)
    bk_struct_free (type, items->pdata[i]);
  if (items)
    g_ptr_array_unref (items);
}

static bool
read_array (Reader *reader, const BkField *field, json_object *json, GPtrArray **out)
{
  if (!want (reader, json, json_type_array, "an array"))
    return false;
  *out = g_ptr_array_new ();
  for (size_t i = 0; i < json_object_array_length (json); i++) {
    size_t before = enter_item (reader, i);
    gpointer item = read_struct (reader, field->sub, json_object_array_get_idx (json, i));
    if (item == NULL)
      return false;
    g_ptr_array_add (*out, item);
    leave (reader, before);
  }
  return true;
}

static bool
read_field (Reader *reader, const BkField *field, json_object *json, gpointer at)
{
  switch (field->type) {
  case BK_FIELD_STRING:
    return read_word (reader, field, json, at);
  case BK_FIELD_BOOL:
    if (!want (reader, json, json_type_boolean, "true or false"))
      return false;
    *(bool *)at = json_object_get_boolean (json);
    return true;
  case BK_FIELD_UINT64:
    return read_uint64 (reader, json, at);
  case BK_FIELD_INT64:
    if (!want (reader, json, json_type_int, "a whole number"))
      return false;
    *(int64_t *)at = json_object_get_int64 (json);
    return true;
  case BK_FIELD_TIME:
    return read_time (reader, json, at);
  case BK_FIELD_STRV:
    return read_strv (reader, field, json, at);
  case BK_FIELD_MAP:
    return read_map (reader, field, json, at);
  case BK_FIELD_OBJECT:
    *(gpointer *)at = read_struct (reader, field->sub, json);
    return *(gpointer *)at != NULL;
  case BK_FIELD_ARRAY:
    return read_array (reader, field, json, at);
  }
  g_assert_not_reached ();
}

static const BkField *
find_field (const BkStruct *type, const char *name)
{
  for (const BkField *field = type->fields; field->name; field++)
    if (strcmp (field->name, name) == 0)
      return field;
  return NULL;
}

static bool
has_required (Reader *reader, const BkStruct *type, json_object *json)
{
  for (const BkField *field = type->fields; field->name; field++) {
    json_object *member = NULL;
    if (!(field->flags & BK_FIELD_REQUIRED))
      continue;
    if (json_object_object_get_ex (json, field->name, &member) && member != NULL)
      continue;
    enter_member (reader, field->name);
    return refuse (reader, "is required");
  }
  return true;
}

static bool
read_members (Reader *reader, const BkStruct *type, json_object *json, gpointer value)
{
  json_object_object_foreach (json, key, member) {
    const BkField *field = find_field (type, key);
    size_t before = enter_member (reader, key);
    if (field == NULL) {
      if (!reader->lax)
        return refuse (reader, "no such member in a %s", type->name);
    } else if (member != NULL) {
      if (!read_field (reader, field, member, (char *)value + field->offset))
        return false;
    }
    leave (reader, before);
  }
  return has_required (reader, type, json);
}

/* Numbers that may be absent or null read as "none", not as 0. */
static void
preset (const BkStruct *type, gpointer value)
{
  for (const BkField *field = type->fields; field->name; field++)
    if (field->type == BK_FIELD_INT64 && (field->flags & BK_FIELD_NULL_IF_NEGATIVE))
      *(int64_t *)((char *)value + field->offset) = -1;
}

static gpointer
read_struct (Reader *reader, const BkStruct *type, json_object *json)
{
  if (!want (reader, json, json_type_object, "an object"))
    return NULL;
  gpointer value = g_malloc0 (type->size);
  preset (type, value);
  if (read_members (reader, type, json, value))
    return value;
  bk_struct_free (type, value);
  return NULL;
}

static gpointer
struct_from_json (const BkStruct *type, json_object *json, bool lax, GError **error)
{
  g_autoptr (GString) where = g_string_new (NULL);
  Reader reader = { lax, where, error };
  return read_struct (&reader, type, json);
}

gpointer
bk_struct_from_json (const BkStruct *type, json_object *json, GError **error)
{
  return struct_from_json (type, json, false, error);
}

gpointer
bk_struct_from_json_lax (const BkStruct *type, json_object *json, GError **error)
{
  return struct_from_json (type, json, true, error);
}

static GHashTable *
copy_map (GHashTable *map)
{
  if (map == NULL)
    return NULL;
  GHashTable *copy = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  GHashTableIter iter;
  gpointer key, value;
  g_hash_table_iter_init (&iter, map);
  while (g_hash_table_iter_next (&iter, &key, &value))
    g_hash_table_insert (copy, g_strdup (key), g_strdup (value));
  return copy;
}

static GPtrArray *
copy_array (const BkStruct *type, GPtrArray *items)
{
  if (items == NULL)
    return NULL;
  GPtrArray *copy = g_ptr_array_sized_new (items->len);
  for (unsigned i = 0; i < items->len; i++)
    g_ptr_array_add (copy, bk_struct_copy (type, items->pdata[i]));
  return copy;
}

static void
copy_field (const BkField *field, gconstpointer from, gpointer to)
{
  switch (field->type) {
  case BK_FIELD_STRING:
    *(char **)to = g_strdup (*(char *const *)from);
    return;
  case BK_FIELD_BOOL:
    *(bool *)to = *(const bool *)from;
    return;
  case BK_FIELD_UINT64:
  case BK_FIELD_INT64:
  case BK_FIELD_TIME:
    *(uint64_t *)to = *(const uint64_t *)from;
    return;
  case BK_FIELD_STRV:
    *(GStrv *)to = g_strdupv (*(GStrv const *)from);
    return;
  case BK_FIELD_MAP:
    *(GHashTable **)to = copy_map (*(GHashTable *const *)from);
    return;
  case BK_FIELD_OBJECT:
    *(gpointer *)to = bk_struct_copy (field->sub, *(gconstpointer const *)from);
    return;
  case BK_FIELD_ARRAY:
    *(GPtrArray **)to = copy_array (field->sub, *(GPtrArray *const *)from);
    return;
  }
  g_assert_not_reached ();
}

gpointer
bk_struct_copy (const BkStruct *type, gconstpointer value)
{
  if (value == NULL)
    return NULL;
  gpointer copy = g_malloc0 (type->size);
  for (const BkField *field = type->fields; field->name; field++)
    copy_field (field, (const char *)value + field->offset, (char *)copy + field->offset);
  return copy;
}

void
bk_struct_free (const BkStruct *type, gpointer value)
{
  if (value == NULL)
    return;
  for (const BkField *field = type->fields; field->name; field++) {
    gpointer at = (char *)value + field->offset;
    switch (field->type) {
    case BK_FIELD_STRING:
      g_free (*(char **)at);
      break;
    case BK_FIELD_STRV:
      g_strfreev (*(GStrv *)at);
      break;
    case BK_FIELD_MAP:
      g_clear_pointer ((GHashTable **)at, g_hash_table_unref);
      break;
    case BK_FIELD_OBJECT:
      bk_struct_free (field->sub, *(gpointer *)at);
      break;
    case BK_FIELD_ARRAY:
      free_array (field->sub, *(GPtrArray **)at);
      break;
    case BK_FIELD_BOOL:
    case BK_FIELD_UINT64:
    case BK_FIELD_INT64:
    case BK_FIELD_TIME:
      break;
    }
  }
  g_free (value);
}

static bool
only_space (const char *text, size_t length)
{
  for (size_t i = 0; i < length; i++)
    if (!g_ascii_isspace (text[i]))
      return false;
  return true;
}

json_object *
bk_json_parse (const char *text, size_t length, GError **error)
{
  return bk_json_parse_nested (text, length, MAX_DEPTH, error);
}

json_object *
bk_json_parse_nested (const char *text, size_t length, unsigned depth, GError **error)
{
  if (length > INT32_MAX) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "JSON text of %zu bytes is too long", length);
    return NULL;
  }
  json_tokener *tokener = json_tokener_new_ex ((int)depth);
  json_tokener_set_flags (tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
  json_object *json = json_tokener_parse_ex (tokener, text, (int)length);
  enum json_tokener_error result = json_tokener_get_error (tokener);
  size_t end = json_tokener_get_parse_end (tokener);
  if (result == json_tokener_continue && length > 0) {
    /* A bare number or word ends only at the NUL that follows it. */
    json = json_tokener_parse_ex (tokener, "", 1);
    result = json_tokener_get_error (tokener);
    end = length;
  }
  json_tokener_free (tokener);
  if (result == json_tokener_success && only_space (text + end, length - end))
    return json;
  json_object_put (json);
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "not valid JSON at byte %zu: %s", end,
               result == json_tokener_success     ? "more text after the value"
               : result == json_tokener_continue  ? "the text ends too early"
                                                  : json_tokener_error_desc (result));
  return NULL;
}
