/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "checkpoint-fold.h"
#include "suite.h"

#include <string.h>

/* Checkpoints out of a text: "c1:vda c2:vda<c1,vdb? c3:vda<c2", oldest first; each disk with its parent behind "<",
 * and a "?" when it is provisional. The bitmap of c1 is "bm-c1". */
static BkCheckpointDisk *
disk_of (const char *text, const char *checkpoint)
{
  BkCheckpointDisk *disk = g_new0 (BkCheckpointDisk, 1);
  bool provisional = g_str_has_suffix (text, "?");
  g_autofree char *plain = g_strndup (text, strlen (text) - provisional);
  g_auto (GStrv) parts = g_strsplit (plain, "<", 2);
  disk->name = g_strdup (parts[0]);
  disk->parent = g_strdup (parts[1]);
  disk->bitmap = g_strconcat ("bm-", checkpoint, NULL);
  disk->state = g_strdup (provisional ? "provisional" : "committed");
  return disk;
}

static GPtrArray *
checkpoints_of (const char *text)
{
  GPtrArray *checkpoints = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_checkpoint_info_free);
  g_auto (GStrv) words = g_strsplit (text, " ", -1);
  for (char **word = words; *word; word++) {
    g_auto (GStrv) parts = g_strsplit (*word, ":", 2);
    g_auto (GStrv) disks = g_strsplit (parts[1], ",", -1);
    BkCheckpointInfo *checkpoint = g_new0 (BkCheckpointInfo, 1);
    checkpoint->id = g_strdup (parts[0]);
    checkpoint->disks = g_ptr_array_new ();
    for (char **disk = disks; *disk; disk++)
      g_ptr_array_add (checkpoint->disks, disk_of (*disk, checkpoint->id));
    g_ptr_array_add (checkpoints, checkpoint);
  }
  return checkpoints;
}

/* The way back, of those that were changed only. */
static char *
text_of (GPtrArray *checkpoints)
{
  GString *text = g_string_new (NULL);
  for (unsigned i = 0; i < checkpoints->len; i++) {
    const BkCheckpointInfo *checkpoint = checkpoints->pdata[i];
    g_string_append_printf (text, "%s%s:", i ? " " : "", checkpoint->id);
    for (unsigned d = 0; d < checkpoint->disks->len; d++) {
      const BkCheckpointDisk *disk = checkpoint->disks->pdata[d];
      g_string_append_printf (text, "%s%s", d ? "," : "", disk->name);
      if (disk->parent)
        g_string_append_printf (text, "<%s", disk->parent);
      if (strcmp (disk->state, "provisional") == 0)
        g_string_append_c (text, '?');
    }
  }
  return g_string_free (text, FALSE);
}

/* "DISK:BITMAP>PARENT" with "-" for no parent and "!" when the parent records again. */
static char *
folds_text (GPtrArray *folds)
{
  GString *text = g_string_new (NULL);
  for (unsigned i = 0; i < folds->len; i++) {
    const BkFold *fold = folds->pdata[i];
    ck_assert (!fold->merged);
    g_string_append_printf (text, "%s%s:%s>%s%s", i ? " " : "", fold->disk, fold->bitmap, fold->parent ? fold->parent : "-",
                            fold->newest ? "!" : "");
  }
  return g_string_free (text, FALSE);
}

static const struct {
  const char *checkpoints, *id, *folds;
} fold_cases[] = {
  /* the only one, the oldest, one in the middle, the newest */
  { "c1:vda", "c1", "vda:bm-c1>-!" },
  { "c1:vda c2:vda<c1 c3:vda<c2", "c1", "vda:bm-c1>-" },
  { "c1:vda c2:vda<c1 c3:vda<c2", "c2", "vda:bm-c2>bm-c1" },
  { "c1:vda c2:vda<c1 c3:vda<c2", "c3", "vda:bm-c3>bm-c2!" },
  { "c1:vda", "c9", "" },
  /* each disk has a chain of its own */
  { "c1:vda,vdb c2:vda<c1 c3:vda<c2,vdb<c1", "c3", "vda:bm-c3>bm-c2! vdb:bm-c3>bm-c1!" },
  { "c1:vda,vdb c2:vda<c1", "c1", "vda:bm-c1>- vdb:bm-c1>-!" },
  { "c1:vda c2:vdb c3:vda<c1,vdb<c2", "c2", "vdb:bm-c2>-" },
  /* a provisional one is no parent, and no successor: its job may still be undone */
  { "c1:vda c2:vda<c1?", "c1", "vda:bm-c1>-!" },
  { "c1:vda c2:vda<c1? c3:vda<c1", "c3", "vda:bm-c3>bm-c1!" },
  { "c1:vda c2:vda<c1?", "c2", "vda:bm-c2>bm-c1!" },
  { "c1:vda c2:vda<c1? c3:vda<c1", "c2", "vda:bm-c2>bm-c1" },
  { "c1:vda,vdb c2:vda<c1,vdb<c1? c3:vda<c2,vdb<c1", "c2", "vda:bm-c2>bm-c1 vdb:bm-c2>bm-c1" },
};

START_TEST (folds_into_the_one_before)
{
  for (size_t i = 0; i < G_N_ELEMENTS (fold_cases); i++) {
    g_autoptr (GPtrArray) checkpoints = checkpoints_of (fold_cases[i].checkpoints);
    g_autoptr (GPtrArray) folds = bk_checkpoint_folds (checkpoints, fold_cases[i].id);
    g_autofree char *text = folds_text (folds);
    ck_assert_msg (strcmp (text, fold_cases[i].folds) == 0, "%s of '%s': '%s'", fold_cases[i].id, fold_cases[i].checkpoints,
                   text);
  }
}
END_TEST

static const struct {
  const char *checkpoints, *id;
  const char *merged; /* disks whose bits went to the parent */
  const char *changed;
} relink_cases[] = {
  { "c1:vda c2:vda<c1 c3:vda<c2", "c2", "vda", "c3:vda<c1" },
  { "c1:vda c2:vda<c1 c3:vda<c2", "c3", "vda", "" },
  { "c1:vda c2:vda<c1 c3:vda<c2", "c9", "vda", "" },
  /* the oldest has no parent to hand on */
  { "c1:vda c2:vda<c1 c3:vda<c2", "c1", "vda", "c2:vda" },
  /* bits that were not merged are lost: from there on nobody knows */
  { "c1:vda c2:vda<c1 c3:vda<c2", "c2", "", "c3:vda" },
  { "c1:vda,vdb c2:vda<c1,vdb<c1 c3:vda<c2,vdb<c2", "c2", "vdb", "c3:vda,vdb<c1" },
  { "c1:vda,vdb c2:vda<c1,vdb<c1 c3:vda<c2,vdb<c2", "c2", "vda vdb", "c3:vda<c1,vdb<c1" },
  /* each disk has a chain of its own, and so several may stand on one */
  { "c1:vda,vdb c2:vda<c1,vdb<c1 c3:vda<c2 c4:vda<c3,vdb<c2", "c2", "vda vdb", "c3:vda<c1 c4:vda<c3,vdb<c1" },
  { "c1:vda c2:vda<c1 c3:vdb", "c1", "vda", "c2:vda" },
  { "c1:vda c2:vda<c1,vdb c3:vda<c1,vdb<c2", "c2", "vda vdb", "c3:vda<c1,vdb" },
  /* one that is being made may stand on it as well */
  { "c1:vda c2:vda<c1 c3:vda<c2?", "c2", "vda", "c3:vda<c1?" },
  /* a deletion marks its checkpoint provisional before it folds */
  { "c1:vda c2:vda<c1? c3:vda<c2", "c2", "vda", "c3:vda<c1" },
  { "c1:vda c2:vda<c1? c3:vda<c2", "c2", "", "c3:vda" },
};

START_TEST (relinks_those_that_stood_on_it)
{
  for (size_t i = 0; i < G_N_ELEMENTS (relink_cases); i++) {
    g_autoptr (GPtrArray) checkpoints = checkpoints_of (relink_cases[i].checkpoints);
    g_autoptr (GPtrArray) folds = bk_checkpoint_folds (checkpoints, relink_cases[i].id);
    g_auto (GStrv) merged = g_strsplit (relink_cases[i].merged, " ", -1);
    for (unsigned f = 0; f < folds->len; f++)
      ((BkFold *)folds->pdata[f])->merged = g_strv_contains ((const char *const *)merged, ((BkFold *)folds->pdata[f])->disk);
    g_autoptr (GPtrArray) changed = bk_checkpoint_relink (checkpoints, relink_cases[i].id, folds);
    g_autofree char *text = text_of (changed);
    ck_assert_msg (strcmp (text, relink_cases[i].changed) == 0, "%s of '%s': '%s'", relink_cases[i].id,
                   relink_cases[i].checkpoints, text);
  }
}
END_TEST

/* A fold that was never tried says nothing of its disk. */
START_TEST (no_fold_is_no_merge)
{
  g_autoptr (GPtrArray) checkpoints = checkpoints_of ("c1:vda c2:vda<c1 c3:vda<c2");
  g_autoptr (GPtrArray) none = g_ptr_array_new ();
  g_autoptr (GPtrArray) changed = bk_checkpoint_relink (checkpoints, "c2", none);
  g_autofree char *text = text_of (changed);
  ck_assert_str_eq (text, "c3:vda");
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { folds_into_the_one_before, relinks_those_that_stood_on_it, no_fold_is_no_merge, NULL };
  return bk_suite_run ("checkpoint-fold", tests);
}
