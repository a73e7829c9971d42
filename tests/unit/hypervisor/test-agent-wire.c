/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent-wire.h"
#include "suite.h"

#include <string.h>

#define SYNC 4711
#define SYNCED "\xff{\"return\": 4711}\n"

/* Takes the next reply, which must be @expected; NULL: there is none yet. */
static void
take (BkAgentWire *wire, const char *expected)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) reply = NULL;
  gboolean ok = bk_agent_wire_next (wire, &reply, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  ck_assert_pstr_eq (reply ? json_object_to_json_string_ext (reply, JSON_C_TO_STRING_PLAIN) : NULL, expected);
}

static void
feed (BkAgentWire *wire, const char *text)
{
  bk_agent_wire_feed (wire, text, strlen (text));
}

START_TEST (greets_with_its_number)
{
  g_autoptr (BkAgentWire) wire = bk_agent_wire_new (SYNC);
  g_autoptr (GString) greeting = bk_agent_wire_greeting (wire);
  ck_assert_int_eq ((unsigned char)greeting->str[0], 0xFF);
  ck_assert_str_eq (greeting->str + 1, "{\"execute\": \"guest-sync-delimited\", \"arguments\": {\"id\": 4711}}\n");
}
END_TEST

START_TEST (formats_one_line)
{
  g_autoptr (GError) error = NULL;
  const char *text = "{\"execute\": \"x\", \"arguments\": {\"path\": \"/a/b\\n\"}}";
  g_autoptr (json_object) command = bk_json_parse (text, strlen (text), &error);
  bk_assert_no_error (error);
  g_autoptr (GString) line = bk_agent_wire_format (command);
  ck_assert_str_eq (line->str, "{\"execute\":\"x\",\"arguments\":{\"path\":\"/a/b\\n\"}}\n");
}
END_TEST

/* What may stand before the reply that counts. */
static const char *const stale[] = {
  "",
  "\n\n",
  "{\"return\": {}}\n",
  "{\"return\": {}}\n{\"return\": 4710}\n\xff{\"return\": 4712}\n",
  "rn\": 3}\n",
  "{\"return\": \"half of a repl",
  "\xff\xff",
  "\xff{\"return\": 1}\n{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\n",
  "\x01\x02 garbage \xfe\n[1]\n{\"return\": [4711]}\n{\"return\": \"4711\"}\nnull\n",
  "{\"return\": 4711.0}\n",
};

START_TEST (drops_what_is_stale)
{
  for (size_t i = 0; i < G_N_ELEMENTS (stale); i++) {
    g_autoptr (BkAgentWire) wire = bk_agent_wire_new (SYNC);
    feed (wire, stale[i]);
    ck_assert (!bk_agent_wire_is_synced (wire));
    feed (wire, SYNCED "{\"return\": \"thawed\"}\n");
    ck_assert_msg (bk_agent_wire_is_synced (wire), "after %s", stale[i]);
    take (wire, "{\"return\":\"thawed\"}");
    take (wire, NULL);
  }
}
END_TEST

START_TEST (reads_bytes_split_anywhere)
{
  const char *text = "{\"return\": {}}\n\xff{\"ret" SYNCED "\r\n{\"return\": 2}\r\n{\"error\": {\"desc\": \"\xc3\xa4\"}}\n";
  size_t length = strlen (text);
  for (size_t first = 0; first <= length; first++) {
    g_autoptr (BkAgentWire) wire = bk_agent_wire_new (SYNC);
    bk_agent_wire_feed (wire, text, first);
    bk_agent_wire_is_synced (wire);
    for (size_t i = first; i < length; i++) {
      bk_agent_wire_feed (wire, text + i, 1);
      bk_agent_wire_is_synced (wire);
    }
    ck_assert (bk_agent_wire_is_synced (wire));
    take (wire, "{\"return\":2}");
    take (wire, "{\"error\":{\"desc\":\"\xc3\xa4\"}}");
    take (wire, NULL);
  }
}
END_TEST

START_TEST (drops_any_amount_before_the_sync)
{
  g_autoptr (BkAgentWire) wire = bk_agent_wire_new (SYNC);
  g_autofree char *block = g_strnfill (65536, 'x');
  for (unsigned i = 0; i < 1000; i++) {
    feed (wire, block);
    ck_assert (!bk_agent_wire_is_synced (wire));
  }
  feed (wire, SYNCED);
  ck_assert (bk_agent_wire_is_synced (wire));
}
END_TEST

static void
refused (const char *text)
{
  g_autoptr (BkAgentWire) wire = bk_agent_wire_new (SYNC);
  g_autoptr (GError) error = NULL;
  json_object *reply = NULL;
  feed (wire, SYNCED);
  ck_assert (bk_agent_wire_is_synced (wire));
  feed (wire, text);
  ck_assert (!bk_agent_wire_next (wire, &reply, &error));
  ck_assert_ptr_null (reply);
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
}

START_TEST (refuses_what_is_no_answer)
{
  refused ("nonsense\n");
  refused ("[1]\n");
  refused ("{\"return\": 1} {\"return\": 2}\n");
  g_autofree char *deep = g_strnfill (10000, '[');
  g_autofree char *line = g_strconcat (deep, "\n", NULL);
  refused (line);
}
END_TEST

START_TEST (refuses_more_than_is_believable)
{
  g_autofree char *filler = g_strnfill (BK_AGENT_REPLY_MAX, 'x');
  g_autofree char *whole = g_strdup_printf ("{\"return\": \"%s\"}\n", filler);
  g_autofree char *open_end = g_strdup_printf ("{\"return\": \"%s", filler);
  refused (whole);
  refused (open_end);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    greets_with_its_number, formats_one_line,           drops_what_is_stale,
    reads_bytes_split_anywhere, drops_any_amount_before_the_sync, refuses_what_is_no_answer,
    refuses_more_than_is_believable, NULL,
  };
  return bk_suite_run ("agent-wire", tests);
}
