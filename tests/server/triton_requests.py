"""Requests as tritonclient 2.73.0 wrote them for the cases of `test_open_inference_clients.py`: (body, bytes of JSON)."""

RECORDED: dict[str, tuple[bytes, int | None]] = {
    "all as binary": (
        b'{"inputs":[{"name":"bool","shape":[2,3],"datatype":"BOOL","parameters":{'
        b'"binary_data_size":6}},{"name":"int8","shape":[2,3],"datatype":"INT8","p'
        b'arameters":{"binary_data_size":6}},{"name":"int16","shape":[2,3],"dataty'
        b'pe":"INT16","parameters":{"binary_data_size":12}},{"name":"int32","shape'
        b'":[2,3],"datatype":"INT32","parameters":{"binary_data_size":24}},{"name"'
        b':"int64","shape":[2,3],"datatype":"INT64","parameters":{"binary_data_siz'
        b'e":48}},{"name":"uint8","shape":[2,3],"datatype":"UINT8","parameters":{"'
        b'binary_data_size":6}},{"name":"uint16","shape":[2,3],"datatype":"UINT16"'
        b',"parameters":{"binary_data_size":12}},{"name":"uint32","shape":[2,3],"d'
        b'atatype":"UINT32","parameters":{"binary_data_size":24}},{"name":"uint64"'
        b',"shape":[2,3],"datatype":"UINT64","parameters":{"binary_data_size":48}}'
        b',{"name":"fp16","shape":[2,3],"datatype":"FP16","parameters":{"binary_da'
        b'ta_size":12}},{"name":"fp32","shape":[2,3],"datatype":"FP32","parameters'
        b'":{"binary_data_size":24}},{"name":"fp64","shape":[2,3],"datatype":"FP64'
        b'","parameters":{"binary_data_size":48}}],"parameters":{"binary_data_outp'
        b'ut":true}}\x01\x00\x01\x00\x00\x01\x00\x01\x02\x80d\x7f\x00\x00\x01\x00\x02\x00\x00\x80d\x00\xff\x7f\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x80d\x00\x00\x00\xff\xff\xff\x7f\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00'
        b"\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80d\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\x7f\x00\x01\x02\x00d\xff\x00\x00\x01\x00\x02\x00\x00\x00d\x00\xff\xff\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00d\x00\x00\x00"
        b"\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00d\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00<\x00@\xff\xfb@V\xff{\x00\x00\x00\x00\x00\x00\x80?"
        b"\x00\x00\x00@\xff\xff\x7f\xff\x00\x00\xc8B\xff\xff\x7f\x7f\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xf0?\x00\x00\x00\x00\x00\x00\x00@\xff\xff\xff\xff\xff\xff\xef\xff\x00\x00\x00\x00\x00\x00Y@\xff\xff\xff\xff\xff\xff\xef\x7f",
        1090,
    ),
    "all as JSON": (
        b'{"id":"7","inputs":[{"name":"bool","shape":[2,3],"datatype":"BOOL","data'
        b'":[true,false,true,false,false,true]},{"name":"int8","shape":[2,3],"data'
        b'type":"INT8","data":[0,1,2,-128,100,127]},{"name":"int16","shape":[2,3],'
        b'"datatype":"INT16","data":[0,1,2,-32768,100,32767]},{"name":"int32","sha'
        b'pe":[2,3],"datatype":"INT32","data":[0,1,2,-2147483648,100,2147483647]},'
        b'{"name":"int64","shape":[2,3],"datatype":"INT64","data":[0,1,2,-92233720'
        b'36854775808,100,9223372036854775807]},{"name":"uint8","shape":[2,3],"dat'
        b'atype":"UINT8","data":[0,1,2,0,100,255]},{"name":"uint16","shape":[2,3],'
        b'"datatype":"UINT16","data":[0,1,2,0,100,65535]},{"name":"uint32","shape"'
        b':[2,3],"datatype":"UINT32","data":[0,1,2,0,100,4294967295]},{"name":"uin'
        b't64","shape":[2,3],"datatype":"UINT64","data":[0,1,2,0,100,1844674407370'
        b'9551615]},{"name":"fp16","shape":[2,3],"datatype":"FP16","data":[0.0,1.0'
        b',2.0,-65504.0,100.0,65504.0]},{"name":"fp32","shape":[2,3],"datatype":"F'
        b'P32","data":[0.0,1.0,2.0,-3.4028234663852886e+38,100.0,3.402823466385288'
        b'6e+38]},{"name":"fp64","shape":[2,3],"datatype":"FP64","data":[0.0,1.0,2'
        b'.0,-1.7976931348623157e+308,100.0,1.7976931348623157e+308]}],"parameters'
        b'":{"binary_data_output":true}}',
        None,
    ),
    "every second as binary": (
        b'{"id":"7","inputs":[{"name":"bool","shape":[2,3],"datatype":"BOOL","data'
        b'":[true,false,true,false,false,true]},{"name":"int8","shape":[2,3],"data'
        b'type":"INT8","parameters":{"binary_data_size":6}},{"name":"int16","shape'
        b'":[2,3],"datatype":"INT16","data":[0,1,2,-32768,100,32767]},{"name":"int'
        b'32","shape":[2,3],"datatype":"INT32","parameters":{"binary_data_size":24'
        b'}},{"name":"int64","shape":[2,3],"datatype":"INT64","data":[0,1,2,-92233'
        b'72036854775808,100,9223372036854775807]},{"name":"uint8","shape":[2,3],"'
        b'datatype":"UINT8","parameters":{"binary_data_size":6}},{"name":"uint16",'
        b'"shape":[2,3],"datatype":"UINT16","data":[0,1,2,0,100,65535]},{"name":"u'
        b'int32","shape":[2,3],"datatype":"UINT32","parameters":{"binary_data_size'
        b'":24}},{"name":"uint64","shape":[2,3],"datatype":"UINT64","data":[0,1,2,'
        b'0,100,18446744073709551615]},{"name":"fp16","shape":[2,3],"datatype":"FP'
        b'16","parameters":{"binary_data_size":12}},{"name":"fp32","shape":[2,3],"'
        b'datatype":"FP32","data":[0.0,1.0,2.0,-3.4028234663852886e+38,100.0,3.402'
        b'8234663852886e+38]},{"name":"fp64","shape":[2,3],"datatype":"FP64","para'
        b'meters":{"binary_data_size":48}}],"parameters":{"binary_data_output":tru'
        b"e}}\x00\x01\x02\x80d\x7f\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x80d\x00\x00\x00\xff\xff\xff\x7f\x00\x01\x02\x00d\xff\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00d\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00<\x00@\xff\xfb@"
        b"V\xff{\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xf0?\x00\x00\x00\x00\x00\x00\x00@\xff\xff\xff\xff\xff\xff\xef\xff\x00\x00\x00\x00\x00\x00Y@\xff\xff\xff\xff\xff\xff\xef\x7f",
        1155,
    ),
    "texts as binary": (
        b'{"id":"r-1","inputs":[{"name":"text","shape":[3],"datatype":"BYTES","par'
        b'ameters":{"binary_data_size":49}}],"parameters":{"binary_data_output":tr'
        b"ue}}\x15\x00\x00\x00Ada lives in New York\r\x00\x00\x00gr\xc3\xb6\xc3\x9fer \xf0\x9f\xa7\xbf\x03\x00\x00\x00a\x00b",
        148,
    ),
    "texts as JSON": (
        b'{"id":"r-1","inputs":[{"name":"text","shape":[3],"datatype":"BYTES","dat'
        b'a":["Ada lives in New York","gr\\u00F6\\u00DFer \\uD83E\\uDDFF","a\\u0000b"]}'
        b'],"parameters":{"binary_data_output":true}}',
        None,
    ),
    "bytes": (
        b'{"inputs":[{"name":"image","shape":[3,1],"datatype":"BYTES","parameters"'
        b':{"binary_data_size":20}}],"parameters":{"binary_data_output":true}}\x06\x00\x00\x00'
        b"\x89PNG\r\n\x00\x00\x00\x00\x02\x00\x00\x00\xff\xfe",
        140,
    ),
    "outputs": (
        b'{"id":"r-2","inputs":[{"name":"text","shape":[3],"datatype":"BYTES","par'
        b'ameters":{"binary_data_size":49}}],"outputs":[{"name":"label","parameter'
        b's":{"binary_data":false}},{"name":"logits","parameters":{"binary_data":t'
        b'rue}},{"name":"probabilities","parameters":{"classification":2,"binary_d'
        b'ata":true}}]}\x15\x00\x00\x00Ada lives in New York\r\x00\x00\x00gr\xc3\xb6\xc3\x9fer \xf0\x9f\xa7\xbf\x03\x00\x00\x00a\x00b',
        301,
    ),
}
