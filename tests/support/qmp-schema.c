/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-schema.h"

#include <check.h>
#include <stdbool.h>

static char *check_type (json_object *schema, const char *type, json_object *value, const char *where);

static json_object *
get (json_object *object, const char *member)
{
  json_object *value = NULL;
  json_object_object_get_ex (object, member, &value);
  return value;
}

static const char *
get_string (json_object *object, const char *member)
{
  return json_object_get_string (get (object, member));
}

static size_t
length (json_object *array)
{
  return array ? json_object_array_length (array) : 0;
}

/* The element of @array whose @key is @value. */
static json_object *
find (json_object *array, const char *key, const char *value)
{
  for (size_t i = 0; i < length (array); i++) {
    json_object *element = json_object_array_get_idx (array, i);
    if (g_strcmp0 (get_string (element, key), value) == 0)
      return element;
  }
  return NULL;
}

static bool
is_deprecated (json_object *entry)
{
  json_object *features = get (entry, "features");
  for (size_t i = 0; i < length (features); i++)
    if (g_strcmp0 (json_object_get_string (json_object_array_get_idx (features, i)), "deprecated") == 0)
      return true;
  return false;
}

static char *
check_builtin (const char *json_type, json_object *value, const char *where)
{
  static const struct {
    const char *name;
    enum json_type type;
  } types[] = { { "string", json_type_string }, { "int", json_type_int },       { "number", json_type_double },
                { "null", json_type_null },     { "boolean", json_type_boolean } };
  if (g_str_equal (json_type, "value"))
    return NULL;
  for (size_t i = 0; i < G_N_ELEMENTS (types); i++)
    if (g_str_equal (types[i].name, json_type) && json_object_is_type (value, types[i].type))
      return NULL;
  return g_strdup_printf ("%s: must be a %s", where, json_type);
}

static char *
check_enum (json_object *entry, json_object *value, const char *where)
{
  json_object *member = find (get (entry, "members"), "name", json_object_get_string (value));
  if (!json_object_is_type (value, json_type_string) || member == NULL)
    return g_strdup_printf ("%s: %s is no such word", where, json_object_to_json_string (value));
  return is_deprecated (member) ? g_strdup_printf ("%s: is deprecated", where) : NULL;
}

static char *
check_array (json_object *schema, json_object *entry, json_object *value, const char *where)
{
  if (!json_object_is_type (value, json_type_array))
    return g_strdup_printf ("%s: must be an array", where);
  for (size_t i = 0; i < length (value); i++) {
    g_autofree char *place = g_strdup_printf ("%s/%zu", where, i);
    char *problem = check_type (schema, get_string (entry, "element-type"), json_object_array_get_idx (value, i), place);
    if (problem)
      return problem;
  }
  return NULL;
}

static char *
check_alternate (json_object *schema, json_object *entry, json_object *value, const char *where)
{
  json_object *members = get (entry, "members");
  for (size_t i = 0; i < length (members); i++) {
    g_autofree char *problem
        = check_type (schema, get_string (json_object_array_get_idx (members, i), "type"), value, where);
    if (problem == NULL)
      return NULL;
  }
  return g_strdup_printf ("%s: %s is none of the alternatives", where, json_object_to_json_string (value));
}

/* Each member of @members, if it is there, or may be left out. */
static char *
check_members (json_object *schema, json_object *members, json_object *value, const char *where)
{
  for (size_t i = 0; i < length (members); i++) {
    json_object *member = json_object_array_get_idx (members, i);
    const char *name = get_string (member, "name");
    g_autofree char *place = g_strdup_printf ("%s/%s", where, name);
    json_object *given = NULL;
    bool optional = json_object_object_get_ex (member, "default", NULL);
    if (!json_object_object_get_ex (value, name, &given)) {
      if (!optional)
        return g_strdup_printf ("%s: is missing", place);
      continue;
    }
    if (is_deprecated (member))
      return g_strdup_printf ("%s: is deprecated", place);
    char *problem = check_type (schema, get_string (member, "type"), given, place);
    if (problem)
      return problem;
  }
  return NULL;
}

/* The members that the value of the tag adds, or NULL. */
static json_object *
variant_members (json_object *schema, json_object *entry, json_object *value)
{
  const char *tag = get_string (entry, "tag");
  json_object *variant = tag ? find (get (entry, "variants"), "case", get_string (value, tag)) : NULL;
  json_object *type = variant ? find (schema, "name", get_string (variant, "type")) : NULL;
  return type ? get (type, "members") : NULL;
}

static char *
check_object (json_object *schema, json_object *entry, json_object *value, const char *where)
{
  if (!json_object_is_type (value, json_type_object))
    return g_strdup_printf ("%s: must be an object", where);
  json_object *members = get (entry, "members");
  json_object *more = variant_members (schema, entry, value);
  json_object_object_foreach (value, name, unused)
  {
    (void)unused;
    if (find (members, "name", name) == NULL && find (more, "name", name) == NULL)
      return g_strdup_printf ("%s/%s: no such member", where, name);
  }
  char *problem = check_members (schema, members, value, where);
  return problem ? problem : check_members (schema, more, value, where);
}

static char *
check_type (json_object *schema, const char *type, json_object *value, const char *where)
{
  json_object *entry = find (schema, "name", type);
  const char *meta = entry ? get_string (entry, "meta-type") : "";
  if (g_str_equal (meta, "builtin"))
    return check_builtin (get_string (entry, "json-type"), value, where);
  if (g_str_equal (meta, "enum"))
    return check_enum (entry, value, where);
  if (g_str_equal (meta, "array"))
    return check_array (schema, entry, value, where);
  if (g_str_equal (meta, "alternate"))
    return check_alternate (schema, entry, value, where);
  if (g_str_equal (meta, "object"))
    return check_object (schema, entry, value, where);
  return g_strdup_printf ("%s: the schema does not describe type '%s'", where, type);
}

char *
bk_qmp_schema_check (json_object *schema, json_object *command)
{
  const char *oob_name = get_string (command, "exec-oob");
  const char *name = oob_name ? oob_name : get_string (command, "execute");
  json_object *entry = find (schema, "name", name);
  if (entry == NULL || g_strcmp0 (get_string (entry, "meta-type"), "command") != 0)
    return g_strdup_printf ("%s: no such command", name);
  if (is_deprecated (entry))
    return g_strdup_printf ("%s: is deprecated", name);
  if (oob_name && !json_object_get_boolean (get (entry, "allow-oob")))
    return g_strdup_printf ("%s: is not for out of band", name);
  json_object *arguments = get (command, "arguments");
  json_object *used = arguments ? json_object_get (arguments) : json_object_new_object ();
  char *problem = check_type (schema, get_string (entry, "arg-type"), used, name);
  json_object_put (used);
  return problem;
}

json_object *
bk_qmp_schema_load (const char *data)
{
  g_autofree char *path = g_build_filename (data, "qmp", "schema-7.2.json", NULL);
  json_object *schema = json_object_from_file (path);
  ck_assert_msg (json_object_is_type (schema, json_type_array), "%s cannot be read", path);
  return schema;
}
