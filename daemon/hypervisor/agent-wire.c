/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent-wire.h"

#include <inttypes.h>
#include <string.h>

#define DELIMITER 0xFF

struct BkAgentWire {
  uint64_t sync;
  bool synced;
  GString *buffer;
};

BkAgentWire *
bk_agent_wire_new (uint64_t sync)
{
  BkAgentWire *wire = g_new0 (BkAgentWire, 1);
  wire->sync = sync;
  wire->buffer = g_string_new (NULL);
  return wire;
}

void
bk_agent_wire_free (BkAgentWire *wire)
{
  if (wire == NULL)
    return;
  g_string_free (wire->buffer, TRUE);
  g_free (wire);
}

GString *
bk_agent_wire_greeting (const BkAgentWire *wire)
{
  GString *text = g_string_new (NULL);
  g_string_append_c (text, (char)DELIMITER);
  g_string_append_printf (text, "{\"execute\": \"guest-sync-delimited\", \"arguments\": {\"id\": %" PRIu64 "}}\n", wire->sync);
  return text;
}

GString *
bk_agent_wire_format (json_object *command)
{
  GString *text = g_string_new (json_object_to_json_string_ext (command, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
  return g_string_append_c (text, '\n');
}

/* What is before a delimiter, nobody waits for. */
static void
drop_stale (GString *buffer)
{
  const char *last = memrchr (buffer->str, DELIMITER, buffer->len);
  if (last)
    g_string_erase (buffer, 0, last + 1 - buffer->str);
}

void
bk_agent_wire_feed (BkAgentWire *wire, const void *data, size_t length)
{
  g_string_append_len (wire->buffer, data, (gssize)length);
}

/* The next line, without what is before a delimiter in it; NULL when it is not whole yet. (transfer full) */
static GString *
take_line (GString *buffer)
{
  const char *newline = memchr (buffer->str, '\n', buffer->len);
  if (newline == NULL)
    return NULL;
  GString *line = g_string_new_len (buffer->str, newline - buffer->str);
  g_string_erase (buffer, 0, newline + 1 - buffer->str);
  drop_stale (line);
  return line;
}

static json_object *
parse (const GString *line)
{
  g_autoptr (GError) error = NULL;
  json_object *json = bk_json_parse (line->str, line->len, &error);
  if (error == NULL && json_object_is_type (json, json_type_object))
    return json;
  json_object_put (json);
  return NULL;
}

static bool
is_sync_reply (const BkAgentWire *wire, const GString *line)
{
  g_autoptr (json_object) reply = parse (line);
  json_object *value = NULL;
  return reply && json_object_object_get_ex (reply, "return", &value) && json_object_is_type (value, json_type_int) &&
         (uint64_t)json_object_get_int64 (value) == wire->sync;
}

bool
bk_agent_wire_is_synced (BkAgentWire *wire)
{
  while (!wire->synced) {
    g_autoptr (GString) line = take_line (wire->buffer);
    if (line) {
      wire->synced = is_sync_reply (wire, line);
      continue;
    }
    drop_stale (wire->buffer);
    if (wire->buffer->len > BK_AGENT_REPLY_MAX)
      g_string_truncate (wire->buffer, 0); /* too long for our reply, so it is not */
    return false;
  }
  return true;
}

static bool
is_empty (const GString *line)
{
  return strspn (line->str, " \t\r") == line->len;
}

static gboolean
fail (GError **error, const char *message)
{
  g_set_error_literal (error, BK_ERROR, BK_ERROR_UNREACHABLE, message);
  return FALSE;
}

gboolean
bk_agent_wire_next (BkAgentWire *wire, json_object **reply, GError **error)
{
  *reply = NULL;
  for (;;) {
    g_autoptr (GString) line = take_line (wire->buffer);
    if ((line ? line->len : wire->buffer->len) > BK_AGENT_REPLY_MAX)
      return fail (error, "the guest agent sends more than is believable for an answer");
    if (line == NULL)
      return TRUE;
    if (is_empty (line))
      continue;
    *reply = parse (line);
    return *reply != NULL || fail (error, "the guest agent sends something that is no answer");
  }
}
