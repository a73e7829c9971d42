/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-wire.h"
#include "suite.h"

#include <string.h>

static const char stream[] = "{\"QMP\": {}}\r\n\r\n  \n{\"return\": {\"a\": [1, 2]}, \"id\": 1}\n"
                             "{\"event\": \"STOP\"}\r\n{\"return\": \"\xc3\xa4 \\u0000 \\n\", \"id\": 2}\n";
static const char *const stream_messages[] = { "{\"QMP\":{}}", "{\"return\":{\"a\":[1,2]},\"id\":1}", "{\"event\":\"STOP\"}",
                                               "{\"return\":\"\xc3\xa4 \\u0000 \\n\",\"id\":2}" };

/* Takes all whole messages off @wire; they must go on with @stream_messages[*@count]. */
static void
take (BkQmpWire *wire, size_t *count)
{
  for (;;) {
    g_autoptr (GError) error = NULL;
    g_autoptr (json_object) message = NULL;
    gboolean ok = bk_qmp_wire_next (wire, &message, &error);
    bk_assert_no_error (error);
    ck_assert (ok);
    if (message == NULL)
      return;
    ck_assert_uint_lt (*count, G_N_ELEMENTS (stream_messages));
    ck_assert_str_eq (json_object_to_json_string_ext (message, JSON_C_TO_STRING_PLAIN), stream_messages[(*count)++]);
  }
}

START_TEST (reads_messages_split_anywhere)
{
  size_t length = strlen (stream);
  for (size_t first = 0; first <= length; first++)
    for (size_t second = first; second <= length; second++) {
      g_autoptr (BkQmpWire) wire = bk_qmp_wire_new (0);
      size_t count = 0;
      bk_qmp_wire_feed (wire, stream, first);
      take (wire, &count);
      bk_qmp_wire_feed (wire, stream + first, second - first);
      take (wire, &count);
      bk_qmp_wire_feed (wire, stream + second, length - second);
      take (wire, &count);
      ck_assert_uint_eq (count, G_N_ELEMENTS (stream_messages));
    }
}
END_TEST

START_TEST (reads_byte_by_byte)
{
  g_autoptr (BkQmpWire) wire = bk_qmp_wire_new (0);
  size_t count = 0;
  for (size_t i = 0; i < strlen (stream); i++) {
    bk_qmp_wire_feed (wire, stream + i, 1);
    take (wire, &count);
  }
  ck_assert_uint_eq (count, G_N_ELEMENTS (stream_messages));
}
END_TEST

static char *
long_message (size_t payload)
{
  g_autofree char *filler = g_strnfill (payload, 'x');
  return g_strdup_printf ("{\"return\": \"%s\"}\n", filler);
}

START_TEST (reads_long_lines)
{
  const size_t payload = 3u << 20;
  g_autofree char *text = long_message (payload);
  g_autoptr (BkQmpWire) wire = bk_qmp_wire_new (0);
  size_t length = strlen (text);
  for (int round = 0; round < 3; round++)
    for (size_t at = 0; at < length; at += 1000) {
      g_autoptr (GError) error = NULL;
      g_autoptr (json_object) message = NULL;
      json_object *value = NULL;
      bk_qmp_wire_feed (wire, text + at, MIN (1000, length - at));
      ck_assert (bk_qmp_wire_next (wire, &message, &error));
      ck_assert ((message != NULL) == (at + 1000 >= length));
      ck_assert (message == NULL || json_object_object_get_ex (message, "return", &value));
      ck_assert (message == NULL || json_object_get_string_len (value) == (int)payload);
    }
}
END_TEST

/* A quadratic reader needs minutes for this: 8 MiB in pieces of 16 bytes, asked after each. */
START_TEST (looks_at_each_byte_once)
{
  g_autofree char *text = long_message (8u << 20);
  g_autoptr (BkQmpWire) wire = bk_qmp_wire_new (0);
  size_t length = strlen (text);
  g_autoptr (json_object) message = NULL;
  for (size_t at = 0; at < length; at += 16) {
    ck_assert_ptr_null (message);
    bk_qmp_wire_feed (wire, text + at, MIN (16, length - at));
    ck_assert (bk_qmp_wire_next (wire, &message, NULL));
  }
  ck_assert_ptr_nonnull (message);
}
END_TEST

/* Feeds @text, which must be refused with a message that holds @expected, now and ever after. */
static void
refused (size_t line_max, const char *text, size_t length, const char *expected)
{
  g_autoptr (BkQmpWire) wire = bk_qmp_wire_new (line_max);
  bk_qmp_wire_feed (wire, text, length);
  for (int i = 0; i < 2; i++) {
    g_autoptr (GError) error = NULL;
    json_object *message = (json_object *)text;
    ck_assert_msg (!bk_qmp_wire_next (wire, &message, &error), "accepted: %s", text);
    ck_assert_ptr_null (message);
    ck_assert_ptr_nonnull (error);
    ck_assert_msg (g_str_has_prefix (error->message, "not a QMP monitor: "), "%s", error->message);
    ck_assert_msg (strstr (error->message, expected) != NULL, "%s", error->message);
    ck_assert_msg (strpbrk (error->message, "\r\n") == NULL, "%s", error->message);
    bk_assert_error (error, BK_ERROR_UNREACHABLE);
    bk_qmp_wire_feed (wire, "{}\n", 3);
  }
}

START_TEST (refuses_garbage)
{
#define REFUSED(text, expected) refused (0, text, sizeof text - 1, expected)
  REFUSED ("SSH-2.0-OpenSSH_9.2\r\n", "'SSH-2.0-OpenSSH_9.2");
  REFUSED ("[]\n", "not a JSON object");
  REFUSED ("null\n", "not a JSON object");
  REFUSED ("42\n", "not a JSON object");
  REFUSED ("{\n", "not valid JSON");
  REFUSED ("{} {}\n", "not valid JSON");
  REFUSED ("{}\0\n", "not valid JSON");
  REFUSED ("\0\0\0\n", "'?\?\?'");
  REFUSED ("{\"a\": \"\0\"}\n", "not valid JSON");
  REFUSED ("{\"a\": \"\xff\"}\n", "not valid JSON");
  REFUSED ("\xff\xfe\n", "'?\?'");
#undef REFUSED
}
END_TEST

START_TEST (refuses_deep_nesting)
{
  g_autofree char *deep = g_strnfill (100000, '[');
  g_autofree char *text = g_strdup_printf ("{\"a\": %s\n", deep);
  refused (0, text, strlen (text), "nesting");
}
END_TEST

START_TEST (gives_up_on_long_lines)
{
  g_autofree char *filler = g_strnfill (200, ' ');
  refused (100, filler, 200, "more than 100 bytes");          /* without waiting for its end */
  g_autofree char *text = g_strdup_printf ("{}%.98s\n{}%.99s\n", filler, filler);
  g_autoptr (BkQmpWire) wire = bk_qmp_wire_new (100);
  g_autoptr (json_object) message = NULL;
  bk_qmp_wire_feed (wire, text, strlen (text));
  ck_assert (bk_qmp_wire_next (wire, &message, NULL)); /* just as long as it may be */
  ck_assert_ptr_nonnull (message);
  json_object *none = NULL;
  g_autoptr (GError) error = NULL;
  ck_assert (!bk_qmp_wire_next (wire, &none, &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
}
END_TEST

START_TEST (formats_commands)
{
  g_autoptr (GString) out = g_string_new (NULL);
  g_autoptr (json_object) arguments = json_object_new_object ();
  json_object_object_add (arguments, "filename", json_object_new_string ("/a \"b\"\n"));
  bk_qmp_wire_format (out, "blockdev-add", arguments, 7, FALSE);
  bk_qmp_wire_format (out, "query-yank", NULL, UINT64_MAX, TRUE);
  ck_assert_str_eq (out->str, "{\"execute\":\"blockdev-add\",\"arguments\":{\"filename\":\"/a \\\"b\\\"\\n\"},\"id\":7}\n"
                              "{\"exec-oob\":\"query-yank\",\"id\":18446744073709551615}\n");
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { reads_messages_split_anywhere, reads_byte_by_byte,     reads_long_lines,
                                 looks_at_each_byte_once,       refuses_garbage,        refuses_deep_nesting,
                                 gives_up_on_long_lines,        formats_commands,       NULL };
  return bk_suite_run ("qmp-wire", tests);
}
