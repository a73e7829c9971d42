/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent.h"

#include <string.h>

/* What a guest says goes into messages: not more of it, in one line. */
#define WORDS_MAX 200

BkAgent *
bk_agent_new (const char *address, GError **error)
{
  const char *path = g_str_has_prefix (address, "unix:") ? address + strlen ("unix:") : "";
  if (g_path_is_absolute (path))
    return bk_agent_socket_new (path);
  const char *uri = g_str_has_prefix (address, "libvirt:") ? strchr (address, '@') : NULL;
  g_autofree char *uuid = uri ? g_strndup (address + strlen ("libvirt:"), (size_t)(uri - address) - strlen ("libvirt:")) : NULL;
  if (uuid && g_uuid_string_is_valid (uuid))
    return bk_agent_libvirt_new (uuid, uri + 1);
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is no address of a guest agent; write unix:PATH or libvirt:UUID@URI", address);
  return NULL;
}

void
bk_agent_free (BkAgent *agent)
{
  if (agent)
    agent->ops->free (agent);
}

gboolean
bk_agent_open (BkAgent *agent, unsigned timeout_ms, GError **error)
{
  return agent->ops->open (agent, timeout_ms, error);
}

/* --- one command --- */

static char *
printable (const char *text)
{
  g_autofree char *valid = g_utf8_make_valid (text, (gssize)strnlen (text, WORDS_MAX));
  for (char *byte = valid; *byte; byte++)
    if (g_ascii_iscntrl (*byte))
      *byte = ' ';
  return g_strdup (g_strstrip (valid));
}

static gboolean
fail_as_told (const char *name, json_object *refusal, GError **error)
{
  json_object *desc = NULL;
  bool told = json_object_is_type (refusal, json_type_object) && json_object_object_get_ex (refusal, "desc", &desc);
  g_autofree char *words = printable (told && json_object_is_type (desc, json_type_string) ? json_object_get_string (desc) : "no reason");
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the guest agent refuses %s: %s", name, words);
  return FALSE;
}

/* @arguments: (transfer full) or NULL. *@value: (transfer full) what it returns, which is of @type. */
static gboolean
ask (BkAgent *agent, const char *name, json_object *arguments, enum json_type type, json_object **value, unsigned timeout_ms, GError **error)
{
  g_autoptr (json_object) command = json_object_new_object ();
  json_object *member = NULL;
  json_object_object_add (command, "execute", json_object_new_string (name));
  if (arguments)
    json_object_object_add (command, "arguments", arguments);
  g_autoptr (json_object) reply = agent->ops->call (agent, command, timeout_ms, error);
  if (reply == NULL)
    return FALSE;
  if (json_object_object_get_ex (reply, "error", &member))
    return fail_as_told (name, member, error);
  if (!json_object_object_get_ex (reply, "return", &member) || !json_object_is_type (member, type)) {
    g_set_error (error, BK_ERROR, BK_ERROR_UNREACHABLE, "what answers %s is no guest agent", name);
    return FALSE;
  }
  *value = json_object_get (member);
  return TRUE;
}

static gboolean
ask_count (BkAgent *agent, const char *name, json_object *arguments, uint64_t *count, unsigned timeout_ms, GError **error)
{
  g_autoptr (json_object) value = NULL;
  if (!ask (agent, name, arguments, json_type_int, &value, timeout_ms, error))
    return FALSE;
  *count = (uint64_t)MAX (0, json_object_get_int64 (value));
  return TRUE;
}

/* --- freezing --- */

gboolean
bk_agent_is_frozen (BkAgent *agent, bool *frozen, unsigned timeout_ms, GError **error)
{
  g_autoptr (json_object) value = NULL;
  if (!ask (agent, "guest-fsfreeze-status", NULL, json_type_string, &value, timeout_ms, error))
    return FALSE;
  *frozen = strcmp (json_object_get_string (value), "thawed") != 0;
  return TRUE;
}

static json_object *
list_of (const char *const *mounts)
{
  json_object *list = json_object_new_array ();
  for (; *mounts; mounts++)
    json_object_array_add (list, json_object_new_string (*mounts));
  json_object *arguments = json_object_new_object ();
  json_object_object_add (arguments, "mountpoints", list);
  return arguments;
}

gboolean
bk_agent_freeze (BkAgent *agent, const char *const *mounts, uint64_t *count, unsigned timeout_ms, GError **error)
{
  if (mounts && mounts[0])
    return ask_count (agent, "guest-fsfreeze-freeze-list", list_of (mounts), count, timeout_ms, error);
  return ask_count (agent, "guest-fsfreeze-freeze", NULL, count, timeout_ms, error);
}

gboolean
bk_agent_thaw (BkAgent *agent, uint64_t *count, unsigned timeout_ms, GError **error)
{
  return ask_count (agent, "guest-fsfreeze-thaw", NULL, count, timeout_ms, error);
}
