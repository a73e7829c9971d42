/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-json.h"

void
bk_qmp_set_string (json_object *object, const char *member, const char *value)
{
  if (value)
    json_object_object_add (object, member, json_object_new_string (value));
}

void
bk_qmp_set_bool (json_object *object, const char *member, bool value)
{
  json_object_object_add (object, member, json_object_new_boolean (value));
}

void
bk_qmp_set_uint (json_object *object, const char *member, uint64_t value)
{
  json_object_object_add (object, member, json_object_new_uint64 (value));
}

json_object *
bk_qmp_object (const char *member, const char *value)
{
  json_object *object = json_object_new_object ();
  bk_qmp_set_string (object, member, value);
  return object;
}

const char *
bk_qmp_get_string (json_object *object, const char *member)
{
  json_object *value = NULL;
  if (!json_object_object_get_ex (object, member, &value) || !json_object_is_type (value, json_type_string))
    return NULL;
  return json_object_get_string (value);
}

uint64_t
bk_qmp_get_uint (json_object *object, const char *member)
{
  json_object *value = NULL;
  return json_object_object_get_ex (object, member, &value) ? json_object_get_uint64 (value) : 0;
}

bool
bk_qmp_get_bool (json_object *object, const char *member)
{
  json_object *value = NULL;
  return json_object_object_get_ex (object, member, &value) && json_object_get_boolean (value);
}

json_object *
bk_qmp_get_array (json_object *object, const char *member)
{
  json_object *value = NULL;
  if (!json_object_object_get_ex (object, member, &value) || !json_object_is_type (value, json_type_array))
    return NULL;
  return value;
}

gboolean
bk_qmp_run (BkQmpClient *client, const char *name, json_object *arguments, GCancellable *cancellable, GError **error)
{
  return bk_qmp_client_call (client, name, arguments, NULL, cancellable, error);
}

gboolean
bk_qmp_ask (BkQmpClient *client, const char *name, json_object *arguments, enum json_type type, json_object **result,
            GCancellable *cancellable, GError **error)
{
  if (!bk_qmp_client_call (client, name, arguments, result, cancellable, error))
    return FALSE;
  if (json_object_is_type (*result, type))
    return TRUE;
  g_clear_pointer (result, json_object_put);
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "QEMU's answer to '%s' is no %s", name, json_type_to_name (type));
  return FALSE;
}

gboolean
bk_qmp_run_call (BkQmpClient *client, BkQmpCall *call, json_object **result, GCancellable *cancellable, GError **error)
{
  gboolean ok = bk_qmp_client_call_all (client, call, 1, 0, cancellable, error);
  if (ok && call->error) {
    g_propagate_error (error, g_steal_pointer (&call->error));
    ok = FALSE;
  }
  if (ok && result)
    *result = g_steal_pointer (&call->result);
  bk_qmp_call_clear (call);
  return ok;
}
