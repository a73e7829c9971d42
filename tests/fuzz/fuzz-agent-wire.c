/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a guest sends, whole and in pieces, must give the same replies and the same end; before the sync nothing.
 */
#include "agent-wire.h"
#include "fuzz.h"

#define SYNC 4711

/* Appends what @wire has to say by now; false when it has failed. */
static bool
drain (BkAgentWire *wire, GString *out)
{
  while (bk_agent_wire_is_synced (wire)) {
    g_autoptr (json_object) reply = NULL;
    g_autoptr (GError) error = NULL;
    if (!bk_agent_wire_next (wire, &reply, &error)) {
      g_assert (reply == NULL && g_error_matches (error, BK_ERROR, BK_ERROR_UNREACHABLE));
      return false;
    }
    g_assert (error == NULL);
    if (reply == NULL)
      break;
    g_assert (json_object_is_type (reply, json_type_object));
    g_string_append_printf (out, "%s\n", json_object_to_json_string (reply));
  }
  return true;
}

static GString *
read_in_pieces (const uint8_t *data, size_t size, size_t piece)
{
  g_autoptr (BkAgentWire) wire = bk_agent_wire_new (SYNC);
  GString *out = g_string_new (NULL);
  bool good = true;
  for (size_t at = 0; at < size && good; at += piece) {
    bk_agent_wire_feed (wire, data + at, MIN (piece, size - at));
    good = drain (wire, out);
  }
  g_string_append (out, !good ? "failed" : bk_agent_wire_is_synced (wire) ? "synced" : "stale");
  return out;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  if (size < 1 || size > BK_AGENT_REPLY_MAX / 2)
    return 0;
  size_t piece = data[0] + 1u;
  g_autoptr (GString) whole = read_in_pieces (data + 1, size - 1, size);
  g_autoptr (GString) pieces = read_in_pieces (data + 1, size - 1, piece);
  g_assert (g_string_equal (whole, pieces));
  return 0;
}
