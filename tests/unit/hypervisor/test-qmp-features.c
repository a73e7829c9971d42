/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-features.h"
#include "qmp-schema.h"
#include "suite.h"

#include <string.h>

/* The features of the recorded schema in which @word is spelt differently; NULL: of the schema as it is. */
static BkQmpFeatures
features_without (const char *word)
{
  BkQmpFeatures features;
  g_autoptr (json_object) schema = bk_qmp_schema_load (BK_TEST_DATA);
  g_autoptr (GString) text = g_string_new (json_object_to_json_string_ext (schema, JSON_C_TO_STRING_PLAIN));
  g_autofree char *quoted = g_strdup_printf ("\"%s\"", word ? word : "-");
  guint count = g_string_replace (text, quoted, "\"other\"", 0);
  ck_assert (word == NULL || count > 0);
  g_autoptr (json_object) changed = bk_json_parse (text->str, text->len, NULL);
  memset (&features, 0xff, sizeof features);
  bk_qmp_features_read (changed, &features);
  return features;
}

START_TEST (finds_the_features_of_7_2)
{
  BkQmpFeatures features = features_without (NULL);
  ck_assert (features.snapshot_push);
  ck_assert (features.backup_perf);
  ck_assert (features.reopen);
  ck_assert (features.nbd_open_timeout);
  ck_assert (features.bitmap_merge);
  ck_assert (features.yank);
  ck_assert (features.pull);
  ck_assert (features.fuse_export);
}
END_TEST

START_TEST (misses_what_is_not_there)
{
  ck_assert (!features_without ("copy-before-write").snapshot_push);
  ck_assert (!features_without ("on-cbw-error").snapshot_push);
  ck_assert (!features_without ("cbw-timeout").snapshot_push);
  ck_assert (!features_without ("snapshot-access").snapshot_push);
  ck_assert (!features_without ("x-perf").backup_perf);
  ck_assert (!features_without ("blockdev-reopen").reopen);
  ck_assert (!features_without ("open-timeout").nbd_open_timeout);
  ck_assert (!features_without ("block-dirty-bitmap-merge").bitmap_merge);
  ck_assert (!features_without ("yank").yank);
  ck_assert (!features_without ("block-export-add").pull);
  ck_assert (!features_without ("bitmaps").pull);
  ck_assert (!features_without ("blockdev-create").pull);
  ck_assert (!features_without ("query-block-exports").pull);
  ck_assert (!features_without ("fuse").fuse_export && features_without ("fuse").pull);
  ck_assert (features_without ("yank").snapshot_push);
  ck_assert (features_without ("cbw-timeout").backup_perf);
}
END_TEST

START_TEST (survives_odd_schemas)
{
  static const char *const odd[] = { "[]", "{}", "null", "42", "[1, null, {}]", "[{\"name\": \"blockdev-add\"}]",
                                     "[{\"name\": \"blockdev-add\", \"arg-type\": \"x\"}]",
                                     "[{\"name\": \"transaction\", \"arg-type\": \"transaction\", \"members\": {}}]",
                                     "[{\"name\": \"blockdev-add\", \"arg-type\": \"blockdev-add\", \"variants\": [3]}]" };
  for (size_t i = 0; i < G_N_ELEMENTS (odd); i++) {
    BkQmpFeatures features;
    g_autoptr (json_object) schema = bk_json_parse (odd[i], strlen (odd[i]), NULL);
    memset (&features, 0xff, sizeof features);
    bk_qmp_features_read (schema, &features);
    ck_assert_msg (!features.snapshot_push && !features.backup_perf && !features.reopen && !features.nbd_open_timeout
                       && !features.bitmap_merge && !features.yank && !features.pull && !features.fuse_export,
                   "%s", odd[i]);
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { finds_the_features_of_7_2, misses_what_is_not_there, survives_odd_schemas, NULL };
  return bk_suite_run ("qmp-features", tests);
}
