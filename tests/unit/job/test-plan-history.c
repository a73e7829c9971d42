/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Random lives of a VM: guests write and discard, disks grow and shrink, jobs fail in all ways, QEMU is
 * restarted or killed, checkpoints and backups are deleted, images are exchanged. A model keeps what is truly
 * on the disks, and what QEMU would keep in bitmaps. Whatever the plan decides, an increment put on its
 * backing image must give what was on the disk at that time.
 *
 * A failure names its seed: BACKUPD_TEST_SEED=N runs that history alone.
 */
#include "plan.h"
#include "checkpoint-chain.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 65536ull
#define BLOCKS 24
#define DISKS 2
#define REPOSITORIES 2
#define HISTORIES 1000
#define STEPS 45

typedef struct {
  char name[48];
  uint32_t bits;
  bool recording, persistent, inconsistent;
  bool in_file; /* survives a crash, as inconsistent */
} Bits;

typedef struct {
  char file[24];
  bool raw;
  unsigned size; /* blocks */
  bool shrunk;   /* since the last checkpoint; must not grow then: nobody would notice */
  uint32_t content[BLOCKS];
  GArray *bitmaps; /* Bits */
} Image;

/* A disk at one moment. */
typedef struct {
  unsigned size;
  uint32_t content[BLOCKS];
} Moment;

/* A bitmap that a dead daemon left. */
typedef struct {
  Image *image;
  char *bitmap, *parent;
} Debris;

typedef struct {
  GRand *rand;
  unsigned seed, number;
  uint32_t value; /* each write has its own */
  bool calm;      /* nothing happens that could cost an increment */
  bool swaps, tampers, shrinks;
  Image images[DISKS];
  unsigned image_of[DISKS];
  GPtrArray *checkpoints, *backups[REPOSITORIES];
  GHashTable *moments; /* "BACKUP/DISK" and "CHECKPOINT/DISK" to Moment */
  GPtrArray *debris;
  unsigned fulls, increments;
} World;

static const char *const disk_names[DISKS] = { "vda", "vdb" };

static bool
chance (World *world, int percent)
{
  return g_rand_int_range (world->rand, 0, 100) < percent;
}

/* --- what QEMU does --- */

static Image *
image_at (World *world, unsigned disk)
{
  return &world->images[world->image_of[disk]];
}

static Bits *
find_bits (Image *image, const char *name)
{
  for (unsigned i = 0; name && i < image->bitmaps->len; i++)
    if (strcmp (g_array_index (image->bitmaps, Bits, i).name, name) == 0)
      return &g_array_index (image->bitmaps, Bits, i);
  return NULL;
}

static void
remove_bits (Image *image, const char *name)
{
  for (unsigned i = 0; i < image->bitmaps->len; i++)
    if (strcmp (g_array_index (image->bitmaps, Bits, i).name, name) == 0)
      g_array_remove_index (image->bitmaps, i--);
}

static void
write_some (World *world, Image *image)
{
  for (int n = g_rand_int_range (world->rand, 0, 3); n > 0; n--) {
    unsigned block = (unsigned)g_rand_int_range (world->rand, 0, (int)image->size);
    image->content[block] = chance (world, 30) ? 0 : ++world->value;
    for (unsigned i = 0; i < image->bitmaps->len; i++) {
      Bits *bits = &g_array_index (image->bitmaps, Bits, i);
      if (bits->recording)
        bits->bits |= 1u << block;
    }
  }
}

static void
resize (World *world, Image *image)
{
  for (unsigned i = 0; i < image->bitmaps->len; i++)
    if (g_array_index (image->bitmaps, Bits, i).inconsistent)
      return;
  unsigned size = (unsigned)g_rand_int_range (world->rand, world->shrinks ? 4 : (int)image->size, BLOCKS + 1);
  if (size > image->size && image->shrunk)
    return;
  image->shrunk = image->shrunk || size < image->size;
  for (unsigned block = size; block < BLOCKS; block++)
    image->content[block] = 0;
  uint32_t kept = (1u << size) - 1;
  for (unsigned i = 0; i < image->bitmaps->len; i++)
    g_array_index (image->bitmaps, Bits, i).bits &= kept;
  image->size = size;
}

/* Ends QEMU and starts it again. */
static void
restart (Image *image, bool clean)
{
  for (unsigned i = 0; i < image->bitmaps->len; i++) {
    Bits *bits = &g_array_index (image->bitmaps, Bits, i);
    if (!bits->persistent || (!clean && !bits->in_file)) {
      g_array_remove_index (image->bitmaps, i--);
    } else if (clean) {
      bits->in_file = true;
    } else {
      bits->inconsistent = true;
      bits->recording = false;
      bits->bits = 0;
    }
  }
}

/* Step 9 of a snapshot push, for failed runs; also what becomes of the debris of a dead daemon. */
static void
roll_back (Image *image, const char *bitmap, const char *parent)
{
  Bits *bits = find_bits (image, bitmap), *older = find_bits (image, parent);
  if (bits && older && !bits->inconsistent && !older->inconsistent) {
    older->bits |= bits->bits;
    older->recording = true;
  }
  remove_bits (image, bitmap);
}

static void
settle (World *world)
{
  for (unsigned i = 0; i < world->debris->len; i++) {
    Debris *debris = world->debris->pdata[i];
    roll_back (debris->image, debris->bitmap, debris->parent);
  }
  g_ptr_array_set_size (world->debris, 0);
}

static void
debris_free (Debris *debris)
{
  g_free (debris->bitmap);
  g_free (debris->parent);
  g_free (debris);
}

/* --- what the plan gets to see --- */

static BkDisk *
see_disk (World *world, unsigned index)
{
  Image *image = image_at (world, index);
  BkDisk *disk = g_new0 (BkDisk, 1);
  disk->name = g_strdup (disk_names[index]);
  disk->qdev = g_strdup (disk_names[index]);
  disk->node = g_strdup (disk_names[index]);
  disk->format = g_strdup (image->raw ? "raw" : "qcow2");
  disk->file = g_strdup (image->file);
  disk->size = image->size * BLOCK;
  disk->can_persist = !image->raw;
  disk->bitmaps = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_bitmap_free);
  for (unsigned i = 0; i < image->bitmaps->len; i++) {
    const Bits *bits = &g_array_index (image->bitmaps, Bits, i);
    BkBitmap *bitmap = g_new0 (BkBitmap, 1);
    bitmap->name = g_strdup (bits->name);
    bitmap->count = (unsigned)__builtin_popcount (bits->bits) * BLOCK;
    bitmap->persistent = bits->persistent;
    bitmap->recording = bits->recording;
    bitmap->inconsistent = bits->inconsistent;
    g_ptr_array_add (disk->bitmaps, bitmap);
  }
  return disk;
}

static void
unsee_disk (BkDisk *disk)
{
  g_ptr_array_unref (g_steal_pointer (&disk->bitmaps));
  bk_disk_free (disk);
}

static BkBackupRequest *
make_request (World *world, bool auto_only)
{
  static const char *const levels[] = { NULL, "auto", "auto", "full", "incremental", "differential" };
  BkBackupRequest *request = g_new0 (BkBackupRequest, 1);
  request->vm = g_strdup ("web01");
  request->level = auto_only ? NULL : g_strdup (levels[g_rand_int_range (world->rand, 0, G_N_ELEMENTS (levels))]);
  if (chance (world, 60)) {
    g_autoptr (GStrvBuilder) disks = g_strv_builder_new ();
    g_strv_builder_add (disks, disk_names[g_rand_int_range (world->rand, 0, DISKS)]);
    request->disks = g_strv_builder_end (disks);
  }
  bool since = world->checkpoints->len > 0 && !auto_only && chance (world, 15) &&
               g_strcmp0 (request->level, "full") != 0;
  if (since) {
    int index = g_rand_int_range (world->rand, 0, (int)world->checkpoints->len);
    request->since = g_strdup (((BkCheckpointInfo *)world->checkpoints->pdata[index])->id);
  }
  /* Where nothing tells which image a checkpoint was made of, exchanged images cannot be noticed. */
  if (!world->swaps && !auto_only && chance (world, 20) &&
      (since || g_strcmp0 (request->level, "differential") != 0))
    request->target = g_strdup ("/target");
  return request;
}

/* @repository: -1 with a target. */
static BkRun *
plan (World *world, const BkBackupRequest *request, int repository, GError **error)
{
  static const char *const repository_names[] = { "default", "other" };
  g_autoptr (GPtrArray) disks = g_ptr_array_new_with_free_func ((GDestroyNotify)unsee_disk);
  g_autoptr (GPtrArray) nothing = g_ptr_array_new ();
  for (unsigned i = 0; i < DISKS; i++)
    g_ptr_array_add (disks, see_disk (world, i));
  BkVmState vm = { .disks = disks, .snapshot_push = true };
  BkPlanInput input = { .request = request,
                        .vm = &vm,
                        .checkpoints = world->checkpoints,
                        .backups = repository < 0 ? nothing : world->backups[repository],
                        .repository = repository < 0 ? NULL : repository_names[repository],
                        .instance = "1a2b3c",
                        .scratch = "/scratch" };
  g_autofree char *reason = NULL;
  g_autoptr (BkRun) run = bk_plan_backup (&input, &reason, error);
  if (run == NULL || !bk_plan_name (run, request, "1a2b3c", ++world->number, "/folder", error))
    return NULL;
  return g_steal_pointer (&run);
}

/* --- what a job does --- */

static unsigned
index_of (const BkRunDisk *disk)
{
  return g_strcmp0 (disk->name, disk_names[0]) == 0 ? 0 : 1;
}

static void
remember (World *world, const char *what, const char *disk, const Image *image)
{
  Moment *moment = g_new0 (Moment, 1);
  moment->size = image->size;
  memcpy (moment->content, image->content, sizeof moment->content);
  g_hash_table_insert (world->moments, g_strdup_printf ("%s/%s", what, disk), moment);
}

static const Moment *
recall (World *world, const char *what, const char *disk)
{
  g_autofree char *key = g_strdup_printf ("%s/%s", what, disk);
  const Moment *moment = g_hash_table_lookup (world->moments, key);
  ck_assert_msg (moment != NULL, "seed %u: there is no %s", world->seed, key);
  return moment;
}

/* Whether a checkpoint still stands for the bitmap. */
static bool
is_known (World *world, const char *disk, const char *bitmap)
{
  for (unsigned i = 0; i < world->checkpoints->len; i++) {
    const BkCheckpointDisk *entry = bk_checkpoint_chain_entry (world->checkpoints->pdata[i], disk);
    if (entry && g_strcmp0 (entry->bitmap, bitmap) == 0)
      return true;
  }
  return false;
}

/* Bitmaps before, point in time, bitmaps after; the guest writes on. */
static void
take_snapshot (World *world, const BkRunDisk *disk)
{
  Image *image = image_at (world, index_of (disk));
  for (size_t i = 0; disk->stale_bitmaps && disk->stale_bitmaps[i]; i++) {
    Bits *stale = find_bits (image, disk->stale_bitmaps[i]);
    ck_assert_msg (stale && (stale->inconsistent || !is_known (world, disk->name, stale->name)), "seed %u: '%s' is not stale",
                   world->seed, disk->stale_bitmaps[i]);
    remove_bits (image, disk->stale_bitmaps[i]);
  }
  Bits bits = { .recording = true, .persistent = disk->persistent };
  g_strlcpy (bits.name, disk->bitmap, sizeof bits.name);
  g_array_append_val (image->bitmaps, bits);
  write_some (world, image);
  remember (world, disk->bitmap, disk->name, image); /* stands in for the snapshot itself, too */
  write_some (world, image);
}

static void
stop_parent (World *world, const BkRunDisk *disk)
{
  Bits *parent = find_bits (image_at (world, index_of (disk)), disk->parent_bitmap);
  ck_assert_msg (disk->parent_bitmap == NULL || (parent && parent->recording && !parent->inconsistent),
                 "seed %u: '%s' is no parent", world->seed, disk->parent_bitmap);
  if (parent)
    parent->recording = false;
}

/* What the union of the base bitmaps does not copy comes from the backing image. */
static void
check_increment (World *world, const BkRunDisk *disk, const Moment *base)
{
  uint32_t dirty = 0;
  for (size_t i = 0; disk->base_bitmaps[i]; i++) {
    const Bits *bits = find_bits (image_at (world, index_of (disk)), disk->base_bitmaps[i]);
    ck_assert_msg (bits && !bits->inconsistent, "seed %u: '%s' is of no use", world->seed, disk->base_bitmaps[i]);
    dirty |= bits->bits;
  }
  ck_assert_msg (disk->base_bitmaps[0] != NULL, "seed %u: no bitmaps to merge", world->seed);
  const Moment *truth = recall (world, disk->bitmap, disk->name);
  for (unsigned block = 0; block < truth->size; block++) {
    uint32_t below = block < base->size ? base->content[block] : 0;
    uint32_t restored = dirty & (1u << block) ? truth->content[block] : below;
    ck_assert_msg (restored == truth->content[block], "seed %u: %s, run %u, block %u: %u where %u belongs (%s)",
                   world->seed, disk->name, world->number, block, restored, truth->content[block], disk->reason);
  }
}

static void
check_copy (World *world, const BkRunDisk *disk)
{
  if (g_strcmp0 (disk->sync, "full") == 0) {
    world->fulls++;
    return;
  }
  world->increments++;
  const char *base = disk->parent_backup ? disk->parent_backup : disk->base_checkpoint;
  check_increment (world, disk, recall (world, base, disk->name));
}

static BkCheckpointDisk *
make_entry (const BkRunDisk *disk, bool committed)
{
  BkCheckpointDisk *entry = g_new0 (BkCheckpointDisk, 1);
  entry->name = g_strdup (disk->name);
  entry->bitmap = g_strdup (disk->bitmap);
  entry->parent = g_strdup (disk->parent_checkpoint);
  entry->state = g_strdup (committed ? "committed" : "provisional");
  entry->size = disk->size;
  entry->persistent = disk->persistent;
  return entry;
}

static BkBackupDisk *
make_backup_disk (World *world, const BkRunDisk *disk, bool completed)
{
  BkBackupDisk *image = g_new0 (BkBackupDisk, 1);
  image->name = g_strdup (disk->name);
  image->level = g_strdup (disk->level);
  image->state = g_strdup (completed ? "completed" : "failed");
  image->source_file = g_strdup (image_at (world, index_of (disk))->file);
  return image;
}

/* A disk failed, and its rollback is done or, with a dead daemon, not. */
static void
fail_disk (World *world, const BkRunDisk *disk, bool dead)
{
  Image *image = image_at (world, index_of (disk));
  if (!dead) {
    roll_back (image, disk->bitmap, disk->parent_bitmap);
    return;
  }
  Debris *debris = g_new0 (Debris, 1);
  debris->image = image;
  debris->bitmap = g_strdup (disk->bitmap);
  debris->parent = g_strdup (disk->parent_bitmap);
  g_ptr_array_add (world->debris, debris);
}

typedef struct {
  BkCheckpointInfo *checkpoint;
  BkBackupInfo *backup;
  bool dead;        /* the daemon died */
  int fail_percent; /* of disks */
  bool any;         /* at least one disk is safe */
} Outcome;

static void
finish_disk (World *world, const BkRunDisk *disk, Outcome *outcome)
{
  bool failed = outcome->dead || chance (world, outcome->fail_percent);
  if (failed)
    fail_disk (world, disk, outcome->dead);
  if (!failed || outcome->dead || chance (world, 50))
    g_ptr_array_add (outcome->checkpoint->disks, make_entry (disk, !failed));
  g_ptr_array_add (outcome->backup->disks, make_backup_disk (world, disk, !failed));
  if (failed)
    return;
  outcome->any = true;
  const Moment *moment = recall (world, disk->bitmap, disk->name);
  Image *image = image_at (world, index_of (disk));
  image->shrunk = false;
  for (int i = 0; i < 2; i++) {
    const char *what = i == 0 ? outcome->backup->id : outcome->checkpoint->id;
    g_hash_table_insert (world->moments, g_strdup_printf ("%s/%s", what, disk->name),
                         g_memdup2 (moment, sizeof *moment));
  }
}

static void
carry_out (World *world, BkRun *run, int repository, bool backup)
{
  bool dead = chance (world, 10), before_stop = dead && chance (world, 30);
  for (unsigned i = 0; i < run->disks->len; i++)
    take_snapshot (world, run->disks->pdata[i]);
  for (unsigned i = 0; i < run->disks->len && !before_stop; i++)
    stop_parent (world, run->disks->pdata[i]);
  for (unsigned i = 0; i < run->disks->len; i++)
    if (backup)
      check_copy (world, run->disks->pdata[i]);
  int fail_percent = chance (world, 30) ? 60 : 0;
  Outcome outcome = { g_new0 (BkCheckpointInfo, 1), g_new0 (BkBackupInfo, 1), dead, fail_percent, false };
  outcome.checkpoint->id = g_strdup_printf ("c%u", world->number);
  outcome.checkpoint->vm = g_strdup ("web01");
  outcome.checkpoint->backup_id = backup ? g_strdup_printf ("b%u", world->number) : NULL;
  outcome.checkpoint->disks = g_ptr_array_new ();
  outcome.backup->id = g_strdup_printf ("b%u", world->number);
  outcome.backup->vm = g_strdup ("web01");
  outcome.backup->disks = g_ptr_array_new ();
  for (unsigned i = 0; i < run->disks->len; i++)
    finish_disk (world, run->disks->pdata[i], &outcome);
  if (backup && outcome.any && repository >= 0)
    g_ptr_array_add (world->backups[repository], outcome.backup);
  else
    bk_backup_info_free (outcome.backup);
  g_ptr_array_add (world->checkpoints, outcome.checkpoint);
}

static BkCheckpointInfo *
find_checkpoint (World *world, const char *backup)
{
  for (unsigned i = 0; i < world->checkpoints->len; i++) {
    BkCheckpointInfo *checkpoint = world->checkpoints->pdata[i];
    if (g_strcmp0 (checkpoint->backup_id, backup) == 0)
      return checkpoint;
  }
  return NULL;
}

static BkCheckpointDisk *
entry_of (BkCheckpointInfo *checkpoint, const char *disk)
{
  for (unsigned i = 0; i < checkpoint->disks->len; i++) {
    BkCheckpointDisk *entry = checkpoint->disks->pdata[i];
    if (g_strcmp0 (entry->name, disk) == 0)
      return entry;
  }
  return NULL;
}

static bool
has_base (World *world, const char *disk, int repository)
{
  for (unsigned i = 0; i < world->backups[repository]->len; i++) {
    const BkBackupInfo *backup = world->backups[repository]->pdata[i];
    BkCheckpointInfo *checkpoint = find_checkpoint (world, backup->id);
    BkCheckpointDisk *entry = checkpoint ? entry_of (checkpoint, disk) : NULL;
    if (entry && g_strcmp0 (entry->state, "committed") == 0)
      return true;
  }
  return false;
}

static void
back_up (World *world)
{
  if (world->calm || chance (world, 80))
    settle (world);
  g_autoptr (BkBackupRequest) request = make_request (world, world->calm);
  int repository = request->target ? -1 : g_rand_int_range (world->rand, 0, REPOSITORIES);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan (world, request, repository, &error);
  bool may_fail = request->since || g_strcmp0 (request->level, "incremental") == 0 ||
                  g_strcmp0 (request->level, "differential") == 0;
  ck_assert_msg (run || may_fail, "seed %u: %s", world->seed, error ? error->message : "");
  if (run == NULL)
    return;
  for (unsigned i = 0; world->calm && i < run->disks->len; i++) {
    const BkRunDisk *disk = run->disks->pdata[i];
    ck_assert_msg (!has_base (world, disk->name, repository) || g_strcmp0 (disk->level, "incremental") == 0,
                   "seed %u: %s, run %u went full: %s", world->seed, disk->name, world->number, disk->reason);
  }
  carry_out (world, run, repository, true);
}

static void
create_checkpoint (World *world)
{
  settle (world);
  g_autoptr (BkBackupRequest) request = make_request (world, true);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRun) run = plan (world, request, 0, &error);
  bk_assert_no_error (error);
  carry_out (world, run, 0, false);
}

/* --- what users do --- */

static bool
is_sound (const Bits *bits)
{
  return bits && !bits->inconsistent;
}

/* Its changes go to the one before, and so does the child's link. Else the link ends, one way or the other. */
static void
delete_entry (World *world, BkCheckpointInfo *checkpoint, BkCheckpointDisk *entry)
{
  Image *image = image_at (world, g_strcmp0 (entry->name, disk_names[0]) == 0 ? 0 : 1);
  Bits *bits = find_bits (image, entry->bitmap), *older = NULL;
  BkCheckpointDisk *child = NULL;
  for (unsigned i = 0; i < world->checkpoints->len; i++) {
    BkCheckpointInfo *other = world->checkpoints->pdata[i];
    BkCheckpointDisk *row = entry_of (other, entry->name);
    if (row && g_strcmp0 (other->id, entry->parent) == 0)
      older = find_bits (image, row->bitmap);
    if (row && g_strcmp0 (row->parent, checkpoint->id) == 0 && g_strcmp0 (row->state, "committed") == 0)
      child = row;
  }
  bool whole = is_sound (bits) && is_sound (older) && (child || bits->recording);
  if (whole) {
    older->bits |= bits->bits;
    older->recording = older->recording || child == NULL;
  }
  remove_bits (image, entry->bitmap);
  if (child && (whole || chance (world, 50))) {
    g_free (child->parent);
    child->parent = whole ? g_strdup (entry->parent) : NULL;
  }
}

static void
delete_checkpoint (World *world)
{
  settle (world);
  if (world->checkpoints->len == 0)
    return;
  unsigned index = (unsigned)g_rand_int_range (world->rand, 0, (int)world->checkpoints->len);
  BkCheckpointInfo *checkpoint = world->checkpoints->pdata[index];
  for (unsigned i = 0; i < checkpoint->disks->len; i++) {
    BkCheckpointDisk *entry = checkpoint->disks->pdata[i];
    if (g_strcmp0 (entry->state, "committed") == 0)
      delete_entry (world, checkpoint, entry);
  }
  g_ptr_array_remove_index (world->checkpoints, index);
}

static void
delete_backup (World *world)
{
  GPtrArray *backups = world->backups[g_rand_int_range (world->rand, 0, REPOSITORIES)];
  if (backups->len > 0)
    g_ptr_array_remove_index (backups, (unsigned)g_rand_int_range (world->rand, 0, (int)backups->len));
}

static void
tamper (World *world)
{
  Image *image = image_at (world, (unsigned)g_rand_int_range (world->rand, 0, DISKS));
  if (!world->tampers || image->bitmaps->len == 0)
    return;
  unsigned index = (unsigned)g_rand_int_range (world->rand, 0, (int)image->bitmaps->len);
  if (chance (world, 50))
    g_array_remove_index (image->bitmaps, index);
  else
    g_array_index (image->bitmaps, Bits, index).recording = false;
}

static void
exchange_images (World *world)
{
  if (!world->swaps)
    return;
  settle (world);
  for (unsigned i = 0; i < DISKS; i++)
    restart (&world->images[i], true);
  unsigned first = world->image_of[0];
  world->image_of[0] = world->image_of[1];
  world->image_of[1] = first;
}

static void
restart_all (World *world, bool clean)
{
  for (unsigned i = 0; i < DISKS; i++)
    restart (&world->images[i], clean);
}

static void
step (World *world)
{
  int what = g_rand_int_range (world->rand, 0, 100);
  if (what < 40)
    write_some (world, &world->images[g_rand_int_range (world->rand, 0, DISKS)]);
  else if (what < 70)
    back_up (world);
  else if (what < 75)
    create_checkpoint (world);
  else if (what < 80)
    delete_checkpoint (world);
  else if (what < 84)
    delete_backup (world);
  else if (what < 88)
    resize (world, &world->images[g_rand_int_range (world->rand, 0, DISKS)]);
  else if (what < 92 && !(world->calm && (world->images[0].raw || world->images[1].raw)))
    restart_all (world, true);
  else if (what < 94 && !world->calm)
    restart_all (world, false);
  else if (what < 96)
    tamper (world);
  else if (what < 98)
    exchange_images (world);
  else
    settle (world);
}

/* --- histories --- */

static void
world_init (World *world, unsigned seed)
{
  *world = (World){ .rand = g_rand_new_with_seed (seed), .seed = seed };
  int kind = g_rand_int_range (world->rand, 0, 4);
  world->calm = kind == 0;
  world->swaps = kind == 1;
  world->tampers = kind == 2;
  world->shrinks = kind >= 2;
  for (unsigned i = 0; i < DISKS; i++) {
    Image *image = &world->images[i];
    g_snprintf (image->file, sizeof image->file, "/images/%u.img", i);
    image->raw = chance (world, 20);
    image->size = (unsigned)g_rand_int_range (world->rand, 4, BLOCKS);
    image->bitmaps = g_array_new (FALSE, FALSE, sizeof (Bits));
    world->image_of[i] = i;
    write_some (world, image);
  }
  world->checkpoints = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_checkpoint_info_free);
  for (unsigned i = 0; i < REPOSITORIES; i++)
    world->backups[i] = g_ptr_array_new_with_free_func ((GDestroyNotify)bk_backup_info_free);
  world->moments = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  world->debris = g_ptr_array_new_with_free_func ((GDestroyNotify)debris_free);
}

static void
world_clear (World *world)
{
  for (unsigned i = 0; i < DISKS; i++)
    g_array_unref (world->images[i].bitmaps);
  for (unsigned i = 0; i < REPOSITORIES; i++)
    g_ptr_array_unref (world->backups[i]);
  g_ptr_array_unref (world->checkpoints);
  g_ptr_array_unref (world->debris);
  g_hash_table_unref (world->moments);
  g_rand_free (world->rand);
}

static void
live (unsigned seed, unsigned *fulls, unsigned *increments)
{
  World world;
  world_init (&world, seed);
  for (unsigned i = 0; i < STEPS; i++)
    step (&world);
  *fulls += world.fulls;
  *increments += world.increments;
  world_clear (&world);
}

START_TEST (never_misses_a_change)
{
  unsigned fulls = 0, increments = 0;
  const char *seed = g_getenv ("BACKUPD_TEST_SEED");
  if (seed) {
    live ((unsigned)strtoul (seed, NULL, 10), &fulls, &increments);
    return;
  }
  for (unsigned i = 0; i < HISTORIES; i++)
    live (i, &fulls, &increments);
  /* A plan that always goes full would be right, and useless. */
  ck_assert_msg (increments > fulls / 2, "%u increments, %u full backups", increments, fulls);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { never_misses_a_change, NULL };
  return bk_suite_run ("plan-history", tests);
}
