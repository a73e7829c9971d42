/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bk-types.h"
#include "layout.h"
#include "suite.h"

static const struct {
  const char *name, *text;
} rows[] = {
  { "vda", "vda" },
  { "scsi0-0-0-0", "scsi0-0-0-0" },
  { "web01.example_x", "web01.example_x" },
  { "virtio 1", "virtio%201" },
  { "a/b", "a%2Fb" },
  { "..", "%2E." },
  { ".", "%2E" },
  { ".hidden", "%2Ehidden" },
  { "-x", "%2Dx" },
  { "_x", "%5Fx" },
  { "%41", "%2541" },
  { "%", "%25" },
  { "\xc3\xa9", "%C3%A9" },
  { "a\nb", "a%0Ab" },
  { "", "%" },
};

START_TEST (escapes_and_back)
{
  for (size_t i = 0; i < G_N_ELEMENTS (rows); i++) {
    g_autofree char *text = bk_path_component_escape (rows[i].name);
    ck_assert_str_eq (text, rows[i].text);
    g_autofree char *name = bk_layout_unescape (text);
    ck_assert_pstr_eq (name, rows[i].name);
  }
}
END_TEST

START_TEST (knows_one_spelling)
{
  static const char *const bad[] = { "..", ".", ".git", "-x", "a b", "a/b", "%41", "a%2fb",
                                     "%2", "%zz", "a%", "%00", "lost+found" };
  for (size_t i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autofree char *name = bk_layout_unescape (bad[i]);
    ck_assert_msg (name == NULL, "'%s' was taken for '%s'", bad[i], name);
  }
}
END_TEST

START_TEST (names_images)
{
  g_autofree char *image = bk_layout_image ("../x");
  ck_assert_str_eq (image, "%2E.%2Fx.qcow2");
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { escapes_and_back, knows_one_spelling, names_images, NULL };
  return bk_suite_run ("layout", tests);
}
