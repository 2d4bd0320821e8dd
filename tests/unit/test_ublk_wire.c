/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Our layouts of ublk against another origin: the kernel's header as far as this machine's knows them (Debian 12: Linux
 * 6.1), and the numbers of include/uapi/linux/ublk_cmd.h of Linux 6.12 and Documentation/block/ublk.rst beyond that.
 */
#include <linux/ublk_cmd.h>

#include <ublk_wire.h>

#include "suite.h"

#define SAME(ours, our_field, theirs, their_field)                                                 \
    CU_ASSERT_EQUAL(offsetof(struct ours, our_field), offsetof(struct theirs, their_field))

static void test_control(void)
{
    CU_ASSERT_EQUAL(sizeof(struct ublkw_control), sizeof(struct ublksrv_ctrl_cmd));
    SAME(ublkw_control, device, ublksrv_ctrl_cmd, dev_id);
    SAME(ublkw_control, queue, ublksrv_ctrl_cmd, queue_id);
    SAME(ublkw_control, bytes, ublksrv_ctrl_cmd, len);
    SAME(ublkw_control, address, ublksrv_ctrl_cmd, addr);
    SAME(ublkw_control, value, ublksrv_ctrl_cmd, data);
    CU_ASSERT_EQUAL(UBLKW_NUMBER(UBLKW_GET_INFO), UBLK_CMD_GET_DEV_INFO);
    CU_ASSERT_EQUAL(UBLKW_NUMBER(UBLKW_ADD), UBLK_CMD_ADD_DEV);
    CU_ASSERT_EQUAL(UBLKW_NUMBER(UBLKW_DELETE), UBLK_CMD_DEL_DEV);
    CU_ASSERT_EQUAL(UBLKW_NUMBER(UBLKW_START), UBLK_CMD_START_DEV);
    CU_ASSERT_EQUAL(UBLKW_NUMBER(UBLKW_STOP), UBLK_CMD_STOP_DEV);
    CU_ASSERT_EQUAL(UBLKW_NUMBER(UBLKW_SET_PARAMS), UBLK_CMD_SET_PARAMS);
    CU_ASSERT_EQUAL(UBLKW_NUMBER(UBLKW_GET_PARAMS), UBLK_CMD_GET_PARAMS);
    CU_ASSERT_EQUAL(UBLKW_NUMBER(UBLKW_RECOVER_START), UBLK_CMD_START_USER_RECOVERY);
    CU_ASSERT_EQUAL(UBLKW_NUMBER(UBLKW_RECOVER_END), UBLK_CMD_END_USER_RECOVERY);
}

/** The encoding came with Linux 6.4, after the header here: direction, size of the structure, 'u', number. */
static void test_ioctl_words(void)
{
    CU_ASSERT_EQUAL(UBLKW_ADD, 0xc0207504u);
    CU_ASSERT_EQUAL(UBLKW_START, 0xc0207506u);
    CU_ASSERT_EQUAL(UBLKW_GET_PARAMS, 0x80207509u);
    CU_ASSERT_EQUAL(UBLKW_GET_INFO2, 0x80207512u);
    CU_ASSERT_EQUAL(UBLKW_GET_FEATURES, 0x80207513u);
    CU_ASSERT_EQUAL(UBLKW_UPDATE_SIZE, 0xc0207515u);
    CU_ASSERT_EQUAL(UBLKW_QUIESCE, 0xc0207516u);
    CU_ASSERT_EQUAL(UBLKW_FETCH, 0xc0107520u);
    CU_ASSERT_EQUAL(UBLKW_COMMIT_FETCH, 0xc0107521u);
}

static void test_info(void)
{
    CU_ASSERT_EQUAL(sizeof(struct ublkw_info), sizeof(struct ublksrv_ctrl_dev_info));
    SAME(ublkw_info, queues, ublksrv_ctrl_dev_info, nr_hw_queues);
    SAME(ublkw_info, depth, ublksrv_ctrl_dev_info, queue_depth);
    SAME(ublkw_info, state, ublksrv_ctrl_dev_info, state);
    SAME(ublkw_info, max_io_bytes, ublksrv_ctrl_dev_info, max_io_buf_bytes);
    SAME(ublkw_info, device, ublksrv_ctrl_dev_info, dev_id);
    SAME(ublkw_info, pid, ublksrv_ctrl_dev_info, ublksrv_pid);
    SAME(ublkw_info, flags, ublksrv_ctrl_dev_info, flags);
    SAME(ublkw_info, server_flags, ublksrv_ctrl_dev_info, ublksrv_flags);
    CU_ASSERT_EQUAL(UBLKW_F_ZERO_COPY, UBLK_F_SUPPORT_ZERO_COPY);
    CU_ASSERT_EQUAL(UBLKW_F_GET_DATA, UBLK_F_NEED_GET_DATA);
    CU_ASSERT_EQUAL(UBLKW_F_RECOVERY, UBLK_F_USER_RECOVERY);
    CU_ASSERT_EQUAL(UBLKW_F_REISSUE, UBLK_F_USER_RECOVERY_REISSUE);
    CU_ASSERT_EQUAL(UBLKW_DEAD, UBLK_S_DEV_DEAD);
    CU_ASSERT_EQUAL(UBLKW_LIVE, UBLK_S_DEV_LIVE);
    CU_ASSERT_EQUAL(UBLKW_QUIESCED, UBLK_S_DEV_QUIESCED);
}

static void test_params(void)
{
    CU_ASSERT_EQUAL(sizeof(struct ublkw_basic), sizeof(struct ublk_param_basic));
    SAME(ublkw_basic, attributes, ublk_param_basic, attrs);
    SAME(ublkw_basic, logical_shift, ublk_param_basic, logical_bs_shift);
    SAME(ublkw_basic, physical_shift, ublk_param_basic, physical_bs_shift);
    SAME(ublkw_basic, optimal_shift, ublk_param_basic, io_opt_shift);
    SAME(ublkw_basic, minimum_shift, ublk_param_basic, io_min_shift);
    SAME(ublkw_basic, max_sectors, ublk_param_basic, max_sectors);
    SAME(ublkw_basic, chunk_sectors, ublk_param_basic, chunk_sectors);
    SAME(ublkw_basic, sectors, ublk_param_basic, dev_sectors);
    SAME(ublkw_basic, boundary_mask, ublk_param_basic, virt_boundary_mask);
    CU_ASSERT_EQUAL(UBLKW_ATTR_READ_ONLY, UBLK_ATTR_READ_ONLY);
    CU_ASSERT_EQUAL(UBLKW_ATTR_ROTATIONAL, UBLK_ATTR_ROTATIONAL);
    CU_ASSERT_EQUAL(UBLKW_ATTR_CACHE, UBLK_ATTR_VOLATILE_CACHE);
    CU_ASSERT_EQUAL(UBLKW_ATTR_FUA, UBLK_ATTR_FUA);
    CU_ASSERT_EQUAL(sizeof(struct ublkw_discard), sizeof(struct ublk_param_discard));
    SAME(ublkw_discard, alignment, ublk_param_discard, discard_alignment);
    SAME(ublkw_discard, granularity, ublk_param_discard, discard_granularity);
    SAME(ublkw_discard, max_sectors, ublk_param_discard, max_discard_sectors);
    SAME(ublkw_discard, max_zero_sectors, ublk_param_discard, max_write_zeroes_sectors);
    SAME(ublkw_discard, max_segments, ublk_param_discard, max_discard_segments);
    SAME(ublkw_params, bytes, ublk_params, len);
    SAME(ublkw_params, types, ublk_params, types);
    SAME(ublkw_params, basic, ublk_params, basic);
    SAME(ublkw_params, discard, ublk_params, discard);
    CU_ASSERT_EQUAL(UBLKW_PARAM_BASIC, UBLK_PARAM_TYPE_BASIC);
    CU_ASSERT_EQUAL(UBLKW_PARAM_DISCARD, UBLK_PARAM_TYPE_DISCARD);
}

static void test_queue(void)
{
    CU_ASSERT_EQUAL(sizeof(struct ublkw_io), sizeof(struct ublksrv_io_cmd));
    SAME(ublkw_io, queue, ublksrv_io_cmd, q_id);
    SAME(ublkw_io, tag, ublksrv_io_cmd, tag);
    SAME(ublkw_io, result, ublksrv_io_cmd, result);
    SAME(ublkw_io, address, ublksrv_io_cmd, addr);
    CU_ASSERT_EQUAL(sizeof(struct ublkw_desc), sizeof(struct ublksrv_io_desc));
    SAME(ublkw_desc, op_flags, ublksrv_io_desc, op_flags);
    SAME(ublkw_desc, sectors, ublksrv_io_desc, nr_sectors);
    SAME(ublkw_desc, start_sector, ublksrv_io_desc, start_sector);
    SAME(ublkw_desc, address, ublksrv_io_desc, addr);
    CU_ASSERT_EQUAL(UBLKW_NUMBER(UBLKW_FETCH), UBLK_IO_FETCH_REQ);
    CU_ASSERT_EQUAL(UBLKW_NUMBER(UBLKW_COMMIT_FETCH), UBLK_IO_COMMIT_AND_FETCH_REQ);
    CU_ASSERT_EQUAL(UBLKW_OP_READ, UBLK_IO_OP_READ);
    CU_ASSERT_EQUAL(UBLKW_OP_WRITE, UBLK_IO_OP_WRITE);
    CU_ASSERT_EQUAL(UBLKW_OP_FLUSH, UBLK_IO_OP_FLUSH);
    CU_ASSERT_EQUAL(UBLKW_OP_DISCARD, UBLK_IO_OP_DISCARD);
    CU_ASSERT_EQUAL(UBLKW_OP_WRITE_ZEROES, UBLK_IO_OP_WRITE_ZEROES);
    CU_ASSERT_EQUAL(UBLKW_IO_FUA, UBLK_IO_F_FUA);
    CU_ASSERT_EQUAL(UBLKW_IO_NO_UNMAP, UBLK_IO_F_NOUNMAP);
    CU_ASSERT_EQUAL(UBLKW_DEPTH_MAX, UBLK_MAX_QUEUE_DEPTH);
}

static void test_offsets(void)
{
    CU_ASSERT_EQUAL(ublkw_desc_offset(0), UBLKSRV_CMD_BUF_OFFSET);
    CU_ASSERT_EQUAL(ublkw_desc_offset(3), 3 * 98304);
    CU_ASSERT_EQUAL(ublkw_data_offset(0, 0), UBLKSRV_IO_BUF_OFFSET);
    CU_ASSERT_EQUAL(ublkw_data_offset(0, 1), UBLKSRV_IO_BUF_OFFSET + (UINT64_C(1) << 25));
    CU_ASSERT_EQUAL(ublkw_data_offset(1, 0), UBLKSRV_IO_BUF_OFFSET + (UINT64_C(1) << 41));
    CU_ASSERT_EQUAL(ublkw_data_offset(4095, 4095),
                    UBLKSRV_IO_BUF_OFFSET + (UINT64_C(4095) << 41 | UINT64_C(4095) << 25));
}

static const struct hv_test_case cases[] = {
    {"control commands", test_control},
    {"command words", test_ioctl_words},
    {"device information", test_info},
    {"parameters", test_params},
    {"queue", test_queue},
    {"offsets", test_offsets},
};

int main(int argc, char **argv)
{
    return hv_test_main("ublk.wire", cases, HV_TEST_COUNT(cases), argc, argv);
}
