"""The configs of detectron2's model zoo, by folder: all that there are, not those that lite has."""

CONFIGS = {
    "": ("Base-RCNN-C4.yaml Base-RCNN-DilatedC5.yaml Base-RCNN-FPN.yaml Base-RetinaNet.yaml"),
    "COCO-Detection": (
        "fast_rcnn_R_50_FPN_1x.yaml faster_rcnn_R_101_C4_3x.yaml faster_rcnn_R_101_DC5_3x.yaml "
        "faster_rcnn_R_101_FPN_3x.yaml faster_rcnn_R_50_C4_1x.yaml faster_rcnn_R_50_C4_3x.yaml "
        "faster_rcnn_R_50_DC5_1x.yaml faster_rcnn_R_50_DC5_3x.yaml faster_rcnn_R_50_FPN_1x.yaml "
        "faster_rcnn_R_50_FPN_3x.yaml faster_rcnn_X_101_32x8d_FPN_3x.yaml fcos_R_50_FPN_1x.py "
        "retinanet_R_101_FPN_3x.yaml retinanet_R_50_FPN_1x.py retinanet_R_50_FPN_1x.yaml "
        "retinanet_R_50_FPN_3x.yaml rpn_R_50_C4_1x.yaml rpn_R_50_FPN_1x.yaml"
    ),
    "COCO-InstanceSegmentation": (
        "mask_rcnn_R_101_C4_3x.yaml mask_rcnn_R_101_DC5_3x.yaml mask_rcnn_R_101_FPN_3x.yaml "
        "mask_rcnn_R_50_C4_1x.py mask_rcnn_R_50_C4_1x.yaml mask_rcnn_R_50_C4_3x.yaml "
        "mask_rcnn_R_50_DC5_1x.yaml mask_rcnn_R_50_DC5_3x.yaml mask_rcnn_R_50_FPN_1x.py "
        "mask_rcnn_R_50_FPN_1x.yaml mask_rcnn_R_50_FPN_1x_giou.yaml mask_rcnn_R_50_FPN_3x.yaml "
        "mask_rcnn_X_101_32x8d_FPN_3x.yaml mask_rcnn_regnetx_4gf_dds_fpn_1x.py "
        "mask_rcnn_regnety_4gf_dds_fpn_1x.py"
    ),
    "COCO-Keypoints": (
        "Base-Keypoint-RCNN-FPN.yaml keypoint_rcnn_R_101_FPN_3x.yaml keypoint_rcnn_R_50_FPN_1x.py "
        "keypoint_rcnn_R_50_FPN_1x.yaml keypoint_rcnn_R_50_FPN_3x.yaml "
        "keypoint_rcnn_X_101_32x8d_FPN_3x.yaml"
    ),
    "COCO-PanopticSegmentation": (
        "Base-Panoptic-FPN.yaml panoptic_fpn_R_101_3x.yaml panoptic_fpn_R_50_1x.py "
        "panoptic_fpn_R_50_1x.yaml panoptic_fpn_R_50_3x.yaml"
    ),
    "Cityscapes": ("mask_rcnn_R_50_FPN.yaml"),
    "Detectron1-Comparisons": (
        "faster_rcnn_R_50_FPN_noaug_1x.yaml keypoint_rcnn_R_50_FPN_1x.yaml "
        "mask_rcnn_R_50_FPN_noaug_1x.yaml"
    ),
    "LVISv0.5-InstanceSegmentation": (
        "mask_rcnn_R_101_FPN_1x.yaml mask_rcnn_R_50_FPN_1x.yaml mask_rcnn_X_101_32x8d_FPN_1x.yaml"
    ),
    "LVISv1-InstanceSegmentation": (
        "mask_rcnn_R_101_FPN_1x.yaml mask_rcnn_R_50_FPN_1x.yaml mask_rcnn_X_101_32x8d_FPN_1x.yaml"
    ),
    "Misc": (
        "cascade_mask_rcnn_R_50_FPN_1x.yaml cascade_mask_rcnn_R_50_FPN_3x.yaml "
        "cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv.yaml "
        "mask_rcnn_R_50_FPN_1x_cls_agnostic.yaml mask_rcnn_R_50_FPN_1x_dconv_c3-c5.yaml "
        "mask_rcnn_R_50_FPN_3x_dconv_c3-c5.yaml mask_rcnn_R_50_FPN_3x_gn.yaml "
        "mask_rcnn_R_50_FPN_3x_syncbn.yaml mmdet_mask_rcnn_R_50_FPN_1x.py "
        "panoptic_fpn_R_101_dconv_cascade_gn_3x.yaml scratch_mask_rcnn_R_50_FPN_3x_gn.yaml "
        "scratch_mask_rcnn_R_50_FPN_9x_gn.yaml scratch_mask_rcnn_R_50_FPN_9x_syncbn.yaml "
        "semantic_R_50_FPN_1x.yaml torchvision_imagenet_R_50.py"
    ),
    "PascalVOC-Detection": ("faster_rcnn_R_50_C4.yaml faster_rcnn_R_50_FPN.yaml"),
    "common": ("coco_schedule.py optim.py train.py"),
    "common/data": ("coco.py coco_keypoint.py coco_panoptic_separated.py constants.py"),
    "common/models": (
        "cascade_rcnn.py fcos.py keypoint_rcnn_fpn.py mask_rcnn_c4.py mask_rcnn_fpn.py "
        "mask_rcnn_vitdet.py panoptic_fpn.py retinanet.py"
    ),
    "new_baselines": (
        "mask_rcnn_R_101_FPN_100ep_LSJ.py mask_rcnn_R_101_FPN_200ep_LSJ.py "
        "mask_rcnn_R_101_FPN_400ep_LSJ.py mask_rcnn_R_50_FPN_100ep_LSJ.py "
        "mask_rcnn_R_50_FPN_200ep_LSJ.py mask_rcnn_R_50_FPN_400ep_LSJ.py "
        "mask_rcnn_R_50_FPN_50ep_LSJ.py mask_rcnn_regnetx_4gf_dds_FPN_100ep_LSJ.py "
        "mask_rcnn_regnetx_4gf_dds_FPN_200ep_LSJ.py mask_rcnn_regnetx_4gf_dds_FPN_400ep_LSJ.py "
        "mask_rcnn_regnety_4gf_dds_FPN_100ep_LSJ.py mask_rcnn_regnety_4gf_dds_FPN_200ep_LSJ.py "
        "mask_rcnn_regnety_4gf_dds_FPN_400ep_LSJ.py"
    ),
    "quick_schedules": (
        "cascade_mask_rcnn_R_50_FPN_inference_acc_test.yaml "
        "cascade_mask_rcnn_R_50_FPN_instant_test.yaml fast_rcnn_R_50_FPN_inference_acc_test.yaml "
        "fast_rcnn_R_50_FPN_instant_test.yaml keypoint_rcnn_R_50_FPN_inference_acc_test.yaml "
        "keypoint_rcnn_R_50_FPN_instant_test.yaml "
        "keypoint_rcnn_R_50_FPN_normalized_training_acc_test.yaml "
        "keypoint_rcnn_R_50_FPN_training_acc_test.yaml mask_rcnn_R_50_C4_GCV_instant_test.yaml "
        "mask_rcnn_R_50_C4_inference_acc_test.yaml mask_rcnn_R_50_C4_instant_test.yaml "
        "mask_rcnn_R_50_C4_training_acc_test.yaml mask_rcnn_R_50_DC5_inference_acc_test.yaml "
        "mask_rcnn_R_50_FPN_inference_acc_test.yaml mask_rcnn_R_50_FPN_instant_test.yaml "
        "mask_rcnn_R_50_FPN_pred_boxes_training_acc_test.yaml "
        "mask_rcnn_R_50_FPN_training_acc_test.yaml panoptic_fpn_R_50_inference_acc_test.yaml "
        "panoptic_fpn_R_50_instant_test.yaml panoptic_fpn_R_50_training_acc_test.yaml "
        "retinanet_R_50_FPN_inference_acc_test.yaml retinanet_R_50_FPN_instant_test.yaml "
        "rpn_R_50_FPN_inference_acc_test.yaml rpn_R_50_FPN_instant_test.yaml "
        "semantic_R_50_FPN_inference_acc_test.yaml semantic_R_50_FPN_instant_test.yaml "
        "semantic_R_50_FPN_training_acc_test.yaml"
    ),
}
