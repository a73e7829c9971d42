/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nbd-uri.h"
#include "suite.h"

#include <stdbool.h>
#include <string.h>

static bool
is_valid (const char *text, GError **error)
{
  g_autoptr (BkNbdUri) uri = bk_nbd_uri_parse (text, error);
  return uri != NULL;
}

START_TEST (takes_apart)
{
  g_autoptr (BkNbdUri) inet = bk_nbd_uri_parse ("nbd://[::1]/a/b%20c", NULL);
  ck_assert_str_eq (inet->host, "::1");
  ck_assert_uint_eq (inet->port, 10809);
  ck_assert_str_eq (inet->export_name, "a/b c");
  ck_assert_ptr_null (inet->path);
  g_autoptr (BkNbdUri) local = bk_nbd_uri_parse ("nbd+unix:///disk?socket=/run/my%20x%26y", NULL);
  ck_assert_str_eq (local->path, "/run/my x&y");
  ck_assert_str_eq (local->export_name, "disk");
  ck_assert_ptr_null (local->host);
}
END_TEST

START_TEST (accepts)
{
  static const char *const good[] = {
    "nbd://host/disk",    "nbd://host:10810/disk",        "nbd://[2001:db8::1]/disk",
    "nbd://[::1]:1/disk", "nbd://host",                   "nbd://host/",
    "nbd://host/a/b%20c", "nbd+unix:///?socket=/run/x",   "nbd+unix:///disk?socket=/run/my%20x%26y",
    "NBD://host/disk",    "nbd+unix:///disk?socket=%2Frun%2Fx",
  };
  for (size_t i = 0; i < G_N_ELEMENTS (good); i++) {
    g_autoptr (GError) error = NULL;
    ck_assert_msg (is_valid (good[i], &error), "%s: %s", good[i], error ? error->message : "");
    bk_assert_no_error (error);
  }
}
END_TEST

START_TEST (refuses)
{
  static const struct {
    const char *uri;
    const char *why;
  } bad[] = {
    { "", "is no NBD URI" },
    { "disk", "is no NBD URI" },
    { "http://host/disk", "scheme" },
    { "nbds://host/disk", "scheme" },
    { "nbds+unix:///disk?socket=/x", "scheme" },
    { "nbd+tcp://host/disk", "scheme" },
    { "nbd:///disk", "no host" },
    { "nbd:host:10809", "no host" },
    { "nbd://user@host/disk", "user" },
    { "nbd://host:0/disk", "port" },
    { "nbd://host:65536/disk", "is no NBD URI" },
    { "nbd://host:x/disk", "is no NBD URI" },
    { "nbd://host/disk?socket=/x", "parameters" },
    { "nbd://host/disk#1", "fragment" },
    { "nbd://[::1/disk", "is no NBD URI" },
    { "nbd://host/a%00b", "is no NBD URI" },
    { "nbd+unix:///disk", "socket=PATH" },
    { "nbd+unix:///disk?socket=", "socket=PATH" },
    { "nbd+unix:///disk?socket=run/x", "absolute" },
    { "nbd+unix://host/disk?socket=/run/x", "no host" },
    { "nbd+unix:///disk?socket=/run/x&tls=1", "besides" },
    { "nbd+unix:///disk?socket=/a%00b", "socket=PATH" },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;
    ck_assert_msg (!is_valid (bad[i].uri, &error), "accepted: %s", bad[i].uri);
    ck_assert_ptr_nonnull (error);
    ck_assert_msg (strstr (error->message, bad[i].why) != NULL, "%s", error->message);
    bk_assert_error (error, BK_ERROR_INVALID);
  }
}
END_TEST

START_TEST (refuses_long_names)
{
  g_autofree char *name = g_strnfill (5000, 'x');
  g_autofree char *uri = g_strdup_printf ("nbd://host/%s", name);
  g_autoptr (GError) error = NULL;
  ck_assert (!is_valid (uri, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { takes_apart, accepts, refuses, refuses_long_names, NULL };
  return bk_suite_run ("qmp-nbd-uri", tests);
}
